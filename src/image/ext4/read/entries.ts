import { decodeDirent } from '../dirent.ts';
import { corrupt, of } from './corrupt.ts';

export interface Entry {
  /** Raw bytes as latin1; never '.', '..', empty, and without '/' and zero. */
  readonly name: string;
  readonly inode: number;
}

/**
 * Reads the entries of one directory block (or of inline data), without '.' and '..'. Index nodes
 * of a hashed directory look like one unused entry: a linear scan meets every entry once.
 * @param directory the inode's number, for errors.
 * @param isFirst whether '.' and '..' may come first: true for a directory's first block.
 * @throws SquibError `data-loss` for lengths that leave the block and names that are no names.
 */
export function* blockEntries(block: Uint8Array, directory: number, isFirst: boolean): Generator<Entry> {
  let ordinal = 0;
  for (let at = 0; at < block.length; ordinal++) {
    const { inode, length, name: bytes } = of(`directory ${directory}`, () => decodeDirent(block, at));
    at += length;
    if (inode === 0) continue;
    const name = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    const isDots = isFirst && ((ordinal === 0 && name === '.') || (ordinal === 1 && name === '..'));
    if (isDots) continue;
    checkName(name, directory);
    yield { name, inode };
  }
}

function checkName(name: string, directory: number): void {
  if (name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0')) return;
  throw corrupt(`directory ${directory}: "${JSON.stringify(name).slice(1, -1)}" is not a file name`);
}
