import { corrupt } from './corrupt.ts';
import type { Geometry } from './geometry.ts';
import type { ImageFile } from './image-file.ts';

export const ROOT_INODE = 2;

export type FileType = 'file' | 'directory' | 'symlink' | 'character' | 'block' | 'fifo' | 'socket';

const TYPES: Readonly<Record<number, FileType>> = {
  1: 'fifo',
  2: 'character',
  4: 'directory',
  6: 'block',
  8: 'file',
  10: 'symlink',
  12: 'socket',
};

/** i_flags */
export const FLAG_EXTENTS = 0x80000;
export const FLAG_INLINE = 0x10000000;
/** Encrypted, a value of another inode's attributes, case-folded. */
const FLAGS_REFUSED = 0x800 | 0x200000 | 0x40000000;

const BASE_BYTES = 128;
const BLOCK_AT = 40;
export const BLOCK_BYTES = 60;
/** ext4 numbers a file's blocks with 32 bits. */
const FILE_BLOCKS_MAX = 2 ** 32;
const NANOS_MAX = 1_000_000_000;

/** An inode whose numbers are checked; what it points to is not. */
export interface Inode {
  readonly number: number;
  readonly type: FileType;
  /** The lower twelve bits of the mode. */
  readonly permissions: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly links: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanos: number;
  /** Of devices; else 0. */
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly flags: number;
  /** Block of further extended attributes; 0: none. */
  readonly xattrBlock: number;
  /** The 60 bytes of i_block: extent root, short symlink, device number or inline data. */
  readonly block: Uint8Array;
  /** What follows the fields: extended attributes, if there are any. */
  readonly rest: Uint8Array;
}

/** Where an inode's bytes are, by way of its group's descriptor. @throws SquibError `data-loss`. */
export function inodePosition(image: ImageFile, geometry: Geometry, number: number): number {
  const { blockSize, inodesPerGroup, inodeSize, descriptorSize } = geometry;
  if (!(number >= 1 && number <= geometry.inodes))
    throw corrupt(`inode number ${number}; expected 1 to ${geometry.inodes}`);
  const group = Math.floor((number - 1) / inodesPerGroup);
  const at = (geometry.firstDataBlock + 1) * blockSize + group * descriptorSize;
  const descriptor = image.view(at, descriptorSize);
  const view = new DataView(descriptor.buffer, descriptor.byteOffset, descriptor.length);
  const table = view.getUint32(8, true) + (geometry.is64bit ? view.getUint32(0x28, true) * 2 ** 32 : 0);
  const tableBlocks = Math.ceil((inodesPerGroup * inodeSize) / blockSize);
  if (!(table > geometry.firstDataBlock && table + tableBlocks <= geometry.blocks))
    throw corrupt(`group ${group}: inode table at block ${table}; the image has ${geometry.blocks} blocks`);
  return table * blockSize + ((number - 1) % inodesPerGroup) * inodeSize;
}

/** Decodes one inode. @param bytes its inode_size bytes; copied. @throws SquibError `data-loss`. */
export function decodeInode(number: number, source: Uint8Array, blockSize: number): Inode {
  const bytes = source.slice();
  const view = new DataView(bytes.buffer);
  const u16 = (at: number) => view.getUint16(at, true);
  const u32 = (at: number) => view.getUint32(at, true);
  const mode = u16(0);
  const type = TYPES[mode >>> 12];
  if (type === undefined) throw corrupt(`inode ${number}: mode 0${mode.toString(8)} has no known file type`);
  const flags = u32(32);
  if ((flags & FLAGS_REFUSED) !== 0)
    throw corrupt(
      `inode ${number}: flags 0x${flags.toString(16)} (encrypted, casefold or ea_inode) are not supported`,
    );
  const links = u16(26);
  if (links === 0) throw corrupt(`inode ${number} is in a directory but has no links`);
  const size = u32(4) + u32(108) * 2 ** 32;
  if (size > FILE_BLOCKS_MAX * blockSize)
    throw corrupt(`inode ${number}: size ${size} is more than 2^32 blocks`);
  const extra = bytes.length > BASE_BYTES ? u16(BASE_BYTES) : 0;
  if (extra % 4 !== 0 || BASE_BYTES + extra > bytes.length)
    throw corrupt(`inode ${number}: i_extra_isize is ${extra} in an inode of ${bytes.length} bytes`);
  const seconds = view.getInt32(16, true);
  const more = extra >= 12 ? u32(0x88) : 0;
  const nanos = more >>> 2;
  if (nanos >= NANOS_MAX) throw corrupt(`inode ${number}: mtime has ${nanos} nanoseconds`);
  const device =
    type === 'character' || type === 'block' ? deviceNumber(u32(BLOCK_AT), u32(BLOCK_AT + 4)) : NO_DEVICE;
  return {
    number,
    type,
    permissions: mode & 0xfff,
    uid: u16(2) + u16(120) * 0x10000,
    gid: u16(24) + u16(122) * 0x10000,
    size,
    links,
    mtimeSeconds: seconds + (more & 3) * 2 ** 32,
    mtimeNanos: nanos,
    ...device,
    flags,
    xattrBlock: u32(104) + u16(118) * 2 ** 32,
    block: bytes.subarray(BLOCK_AT, BLOCK_AT + BLOCK_BYTES),
    rest: bytes.subarray(BASE_BYTES + extra),
  };
}

const NO_DEVICE = { rdevMajor: 0, rdevMinor: 0 };

/** The old 8:8 form in the first word, or the 12:20 form in the second. */
function deviceNumber(old: number, now: number) {
  if (old !== 0) return { rdevMajor: (old >>> 8) & 0xff, rdevMinor: old & 0xff };
  return { rdevMajor: (now & 0xfff00) >>> 8, rdevMinor: (now & 0xff) | ((now >>> 12) & 0xfff00) };
}
