import { SquibError } from '../../base/errors.ts';
import { tarNumber } from './number.ts';

/** Headers, and everything else in a tar, come in blocks of this size. */
export const BLOCK_BYTES = 512;

const CHECKSUM_AT = 148;
const TYPE_AT = 156;
const MAGIC_AT = 257;

/** One header block as it stands, extended headers not regarded. docs/protocol/tar.md has the table. */
export interface TarHeader {
  /** The type byte: `0` a file, `x` an extended header, … */
  type: number;
  path: string;
  linkPath: string;
  mode: number;
  uid: number;
  gid: number;
  /** Bytes that follow in the archive. */
  size: number;
  mtime: number;
  rdevMajor: number;
  rdevMinor: number;
}

export function emptyHeader(): TarHeader {
  return {
    type: 0,
    path: '',
    linkPath: '',
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 0,
    rdevMajor: 0,
    rdevMinor: 0,
  };
}

export function isZeroBlock(block: Buffer, at: number): boolean {
  for (let i = at; i < at + BLOCK_BYTES; i++) if (block[i] !== 0) return false;
  return true;
}

/**
 * Reads the header block at `at` into `into`; of an extended header only its type and size, since
 * the rest says nothing. Formats: v7, POSIX ustar, GNU, star.
 * @throws SquibError data-loss when the checksum does not fit, invalid-argument on a field that is no number.
 */
export function readHeader(block: Buffer, at: number, into: TarHeader): void {
  verifyChecksum(block, at);
  const type = block[at + TYPE_AT] as number;
  into.type = type;
  into.size = tarNumber(block, at + 124, 12, 'size');
  if (isExtension(type)) return;
  into.mode = tarNumber(block, at + 100, 8, 'mode');
  into.uid = tarNumber(block, at + 108, 8, 'uid');
  into.gid = tarNumber(block, at + 116, 8, 'gid');
  into.mtime = tarNumber(block, at + 136, 12, 'mtime');
  into.linkPath = block[at + 157] === 0 ? '' : text(block, at + 157, 100);
  // "ustar", then a NUL with POSIX and a blank with GNU, which has other things where the prefix is.
  const ustar = starts(block, at + MAGIC_AT, USTAR);
  const prefixed = ustar && block[at + 262] === 0 && block[at + 345] !== 0;
  const name = text(block, at, 100);
  into.path = prefixed ? `${text(block, at + 345, prefixBytes(block, at))}/${name}` : name;
  const device = ustar && (type === 0x33 || type === 0x34);
  into.rdevMajor = device ? tarNumber(block, at + 329, 8, 'devmajor') : 0;
  into.rdevMinor = device ? tarNumber(block, at + 337, 8, 'devminor') : 0;
}

/** Types of blocks that only precede an entry: pax x, X and g, GNU L and K. */
export function isExtension(type: number): boolean {
  return type === 0x78 || type === 0x58 || type === 0x67 || type === 0x4c || type === 0x4b;
}

const USTAR = Buffer.from('ustar');
const STAR = Buffer.from('tar\0');

function starts(block: Buffer, at: number, text: Buffer): boolean {
  for (let i = 0; i < text.length; i++) if (block[at + i] !== text[i]) return false;
  return true;
}

/** star has times behind a shorter prefix, and signs with "tar\0" at the block's end. */
function prefixBytes(block: Buffer, at: number): number {
  return starts(block, at + 508, STAR) ? 131 : 155;
}

function text(block: Buffer, at: number, length: number): string {
  const end = at + length;
  let i = at;
  while (i < end && block[i] !== 0) i++;
  return block.toString('latin1', at, i);
}

/** The sum of all bytes, the checksum's own taken as blanks; some old tars summed signed bytes. */
function verifyChecksum(block: Buffer, at: number): void {
  const end = at + BLOCK_BYTES;
  let sum = byteSum(block, at);
  for (let i = at + CHECKSUM_AT; i < at + TYPE_AT; i++) sum += 0x20 - (block[i] as number);
  const expected = tarNumber(block, at + CHECKSUM_AT, 8, 'checksum');
  if (sum === expected) return;
  let signed = sum;
  for (let i = at; i < end; i++) {
    if ((i < at + CHECKSUM_AT || i >= at + TYPE_AT) && (block[i] as number) >= 0x80) signed -= 256;
  }
  if (signed === expected) return;
  throw new SquibError(
    'data-loss',
    `header checksum is ${expected}, its bytes add up to ${sum}: damaged, or no tar archive`,
  );
}

/** The last buffer that was summed up, as words: a chunk has thousands of headers. */
let words: Uint32Array<ArrayBufferLike> = new Uint32Array(0);

/** The sum of a block's bytes, two at a time: 256 times 255 fits into 16 bits. */
function byteSum(block: Buffer, at: number): number {
  const byte = block.byteOffset + at;
  if (byte % 4 !== 0) {
    let sum = 0;
    for (let i = at; i < at + BLOCK_BYTES; i++) sum += block[i] as number;
    return sum;
  }
  if (words.buffer !== block.buffer) words = new Uint32Array(block.buffer, 0, block.buffer.byteLength >> 2);
  const first = byte >> 2;
  let lanes = 0;
  for (let i = first; i < first + BLOCK_BYTES / 4; i++) {
    const word = words[i] as number;
    lanes = (lanes + (word & 0xff00ff) + ((word >>> 8) & 0xff00ff)) | 0;
  }
  return (lanes & 0xffff) + (lanes >>> 16);
}
