import { diskError } from './disk-error.ts';
import { createScratch, type FillScratch } from './ext4/scratch.ts';
import { removeUnfinished } from './image-file.ts';

/**
 * Makes a container's scratch; one that a killed process left unfinished goes. Without `fill` it is
 * empty and takes milliseconds.
 * @throws SquibError `resource-exhausted` when the disk is full; what `createScratch` throws.
 */
export function makeScratch(path: string, bytes: number, fill?: FillScratch): void {
  removeUnfinished(path);
  try {
    createScratch(path, bytes, fill);
  } catch (thrown) {
    throw diskError(path, thrown);
  }
}
