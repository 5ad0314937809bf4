import { statSync } from 'node:fs';
import { sha256Hex } from '../base/sha256.ts';

/** A change of what the same layers give as an image: old images are not found any more. */
export const IMAGE_VERSION = 2;
const UUID_HEX_DIGITS = 32;

/**
 * Identifies a chain of layers by its top-most directory, as 32 hex digits: the image's UUID. containerd
 * never changes a committed snapshot, and a directory that was made anew, under the same name or
 * restored from a backup, has another inode or birth time.
 * @param layers top-most first; their paths say which chain.
 * @throws the error of stat(2) when the top-most directory is not there.
 */
export function chainKey(layers: readonly string[]): string {
  const top = statSync(layers[0] as string, { bigint: true });
  const parts = [IMAGE_VERSION, top.dev, top.ino, top.birthtimeNs, ...layers];
  return sha256Hex(new TextEncoder().encode(parts.join('\0'))).slice(0, UUID_HEX_DIGITS);
}
