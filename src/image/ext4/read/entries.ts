import { corrupt } from './corrupt.ts';

/** inode, rec_len, name_len, file_type. */
const HEADER_BYTES = 8;
/** Index nodes of a hashed directory look like one unused entry; entries are read in linear order. */
export interface Entry {
  /** Raw bytes as latin1; never '.', '..', empty, and without '/' and zero. */
  readonly name: string;
  readonly inode: number;
}

/**
 * Reads the entries of one directory block (or of inline data), without '.' and '..'.
 * @param directory the inode's number, for errors.
 * @param isFirst whether '.' and '..' may come first: true for a directory's first block.
 * @throws SquibError `data-loss` for lengths that leave the block and names that are no names.
 */
export function* blockEntries(block: Uint8Array, directory: number, isFirst: boolean): Generator<Entry> {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  let ordinal = 0;
  for (let at = 0; at < block.length; ordinal++) {
    if (at + HEADER_BYTES > block.length) throw corrupt(`directory ${directory}: an entry is cut at ${at}`);
    const inode = view.getUint32(at, true);
    const length = view.getUint16(at + 4, true);
    const nameLength = view.getUint8(at + 6);
    if (
      length < HEADER_BYTES ||
      length % 4 !== 0 ||
      at + length > block.length ||
      HEADER_BYTES + nameLength > length
    ) {
      throw corrupt(
        `directory ${directory}: entry at ${at} of ${length} bytes with a name of ${nameLength}; the block has ${block.length}`,
      );
    }
    if (inode !== 0) {
      const name = latin1(block, at + HEADER_BYTES, nameLength);
      const isDots = isFirst && ((ordinal === 0 && name === '.') || (ordinal === 1 && name === '..'));
      if (!isDots) {
        checkName(name, directory);
        yield { name, inode };
      }
    }
    at += length;
  }
}

function latin1(bytes: Uint8Array, at: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('latin1');
}

function checkName(name: string, directory: number): void {
  if (name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0')) return;
  throw corrupt(`directory ${directory}: "${JSON.stringify(name).slice(1, -1)}" is not a file name`);
}
