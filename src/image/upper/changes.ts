import { existsSync, readdirSync } from 'node:fs';
import type { Inode } from '../ext4/read/inode.ts';
import { Ext4Reader } from '../ext4/reader.ts';

/** Where the guest's agent has the overlay's upper directory in a scratch image. */
export const UPPER_IN_SCRATCH = 'upper';

/** An empty directory of a fresh file system has one block. */
const LOOK_BLOCKS = 16;

/**
 * Tells quickly whether filling the upper directory has anything to do; in doubt, yes. Reads some
 * blocks at most, so a shim may call it.
 */
export function mayHaveChanges(scratch: string, upperDir: string): boolean {
  try {
    if (readdirSync(upperDir).length > 0) return true;
    using reader = Ext4Reader.open(scratch, LOOK_BLOCKS);
    const start = reader.lookup(reader.root, UPPER_IN_SCRATCH);
    return start !== undefined && !isEmpty(reader, start);
  } catch {
    return existsSync(scratch);
  }
}

export function isEmpty(reader: Ext4Reader, directory: Inode): boolean {
  return reader.entries(directory).next().done === true;
}
