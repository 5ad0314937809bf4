import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import {
  decodeSuperblock,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_MAGIC,
  SUPERBLOCK_OFFSET,
} from './ext4/superblock.ts';

/** A block has 2^(10 + s_log_block_size) bytes. */
const MIN_LOG_BLOCK_BYTES = 10;

/**
 * Opens an image that squib made, if it is there, whole and of the given layers. While it is open,
 * nobody evicts it (image-eviction.ts).
 * @param uuid 32 hex digits.
 * @returns a descriptor that the caller closes, or undefined: there is no such image.
 * @throws the error of open(2), unless it is ENOENT.
 */
export function openImage(path: string, uuid: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
  if (isImage(fd, uuid)) return fd;
  closeSync(fd);
  return undefined;
}

function isImage(fd: number, uuid: string): boolean {
  const { size, nlink } = fstatSync(fd);
  const bytes = Buffer.alloc(SUPERBLOCK_BYTES);
  // An image that is being evicted has lost its name already.
  if (nlink === 0 || readSync(fd, bytes, 0, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET) < SUPERBLOCK_BYTES)
    return false;
  const { magic, logBlockSize, blocksCount, uuid: own } = decodeSuperblock(bytes);
  return (
    magic === SUPERBLOCK_MAGIC &&
    blocksCount * 2 ** (MIN_LOG_BLOCK_BYTES + logBlockSize) === size &&
    Buffer.from(own).toString('hex') === uuid
  );
}
