/** Directory entries: inode u32, length u16, name length u8, type u8, name (docs/protocol/ext4.md). */
import { SquibError } from '../../base/errors.ts';

export const DIRENT_HEADER_BYTES = 8;

/** Types by the upper four bits of a mode; 0 for what has none. */
const TYPE_BY_MODE = [0, 5, 3, 0, 2, 0, 4, 0, 1, 0, 7, 0, 6, 0, 0, 0];

export function direntType(mode: number): number {
  return TYPE_BY_MODE[(mode >>> 12) & 0xf] as number;
}

/** The space an entry takes at least. */
export function direntBytes(nameLength: number): number {
  return (DIRENT_HEADER_BYTES + nameLength + 3) & ~3;
}

export interface Dirent {
  /** 0: the space is free. */
  readonly inode: number;
  /** Space from this entry to the next. */
  readonly length: number;
  readonly type: number;
  /** A view. */
  readonly name: Uint8Array;
}

export function encodeDirent(entry: Dirent, bytes: Uint8Array, at: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  view.setUint32(at, entry.inode, true);
  view.setUint16(at + 4, entry.length, true);
  bytes[at + 6] = entry.name.length;
  bytes[at + 7] = entry.type;
  bytes.set(entry.name, at + DIRENT_HEADER_BYTES);
}

/**
 * The entry at an offset of a directory block.
 * @throws SquibError `data-loss` if it does not fit: its length too short for its name, no multiple
 *   of 4, or beyond the block's end.
 */
export function decodeDirent(bytes: Uint8Array, at: number): Dirent {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const left = bytes.length - at;
  const length = left >= DIRENT_HEADER_BYTES ? view.getUint16(at + 4, true) : 0;
  const nameLength = bytes[at + 6] ?? 0;
  const inode = left >= DIRENT_HEADER_BYTES ? view.getUint32(at, true) : 0;
  const least = inode === 0 ? DIRENT_HEADER_BYTES : direntBytes(nameLength);
  if (length < least || length > left || length % 4 !== 0)
    throw new SquibError(
      'data-loss',
      `directory entry at ${at} of length ${length} with a name of ${nameLength}, ${left} bytes left`,
    );
  return {
    inode,
    length,
    type: bytes[at + 7] as number,
    name: bytes.subarray(at + DIRENT_HEADER_BYTES, at + DIRENT_HEADER_BYTES + nameLength),
  };
}
