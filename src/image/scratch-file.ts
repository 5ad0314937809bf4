import { diskError } from './disk-error.ts';
import { createScratch, type FillScratch } from './ext4/scratch.ts';

/**
 * Makes a container's scratch. Without `fill` it is empty and takes milliseconds.
 * @throws SquibError `resource-exhausted` when the disk is full; what `createScratch` throws.
 */
export function makeScratch(path: string, bytes: number, fill?: FillScratch): void {
  try {
    createScratch(path, bytes, fill);
  } catch (thrown) {
    throw diskError(path, thrown);
  }
}
