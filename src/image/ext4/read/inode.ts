import { decodeGroup } from '../group.ts';
import {
  decodeDevice,
  INODE_BASE_BYTES,
  INODE_EXTENTS,
  INODE_INLINE_DATA,
  decodeInode as takeApart,
} from '../inode.ts';
import { corrupt } from './corrupt.ts';
import type { Geometry } from './geometry.ts';
import type { ImageFile } from './image-file.ts';

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

/** Encrypted, a value of another inode's attributes, case-folded. */
const FLAGS_REFUSED = 0x800 | 0x200000 | 0x40000000;

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
  readonly hasExtents: boolean;
  /** Its content lies in the inode. */
  readonly isInline: boolean;
  /** Block of further extended attributes; 0: none. */
  readonly xattrBlock: number;
  /** The 60 bytes of i_block: extent root, short symlink, device number or inline data. */
  readonly block: Uint8Array;
  /** What follows the fields: extended attributes, if there are any. */
  readonly body: Uint8Array;
}

/** Where an inode's bytes are, by way of its group's descriptor. @throws SquibError `data-loss`. */
export function inodePosition(image: ImageFile, geometry: Geometry, number: number): number {
  const { blockSize, inodesPerGroup, inodeSize, descriptorSize } = geometry;
  if (!(number >= 1 && number <= geometry.inodes))
    throw corrupt(`inode number ${number}; expected 1 to ${geometry.inodes}`);
  const group = Math.floor((number - 1) / inodesPerGroup);
  const at = (geometry.firstDataBlock + 1) * blockSize + group * descriptorSize;
  const table = decodeGroup(image.view(at, descriptorSize)).inodeTable;
  const tableBlocks = Math.ceil((inodesPerGroup * inodeSize) / blockSize);
  if (!(table > geometry.firstDataBlock && table + tableBlocks <= geometry.blocks))
    throw corrupt(`group ${group}: inode table at block ${table}; the image has ${geometry.blocks} blocks`);
  return table * blockSize + ((number - 1) % inodesPerGroup) * inodeSize;
}

/** Decodes one inode. @param source its inode_size bytes; copied. @throws SquibError `data-loss`. */
export function decodeInode(number: number, source: Uint8Array, blockSize: number): Inode {
  const { mode, uid, gid, size, links, flags, block, xattrBlock, mtime, extraBytes } = takeApart(source);
  const type = TYPES[mode >>> 12];
  if (type === undefined) throw corrupt(`inode ${number}: mode 0${mode.toString(8)} has no known file type`);
  if ((flags & FLAGS_REFUSED) !== 0)
    throw corrupt(
      `inode ${number}: flags 0x${flags.toString(16)} (encrypted, casefold or ea_inode) are not supported`,
    );
  if (links === 0) throw corrupt(`inode ${number} is in a directory but has no links`);
  if (size > FILE_BLOCKS_MAX * blockSize)
    throw corrupt(`inode ${number}: size ${size} is more than 2^32 blocks`);
  if (extraBytes % 4 !== 0 || INODE_BASE_BYTES + extraBytes > source.length)
    throw corrupt(`inode ${number}: i_extra_isize is ${extraBytes} in an inode of ${source.length} bytes`);
  if (mtime.nanos >= NANOS_MAX) throw corrupt(`inode ${number}: mtime has ${mtime.nanos} nanoseconds`);
  const { major, minor } = type === 'character' || type === 'block' ? decodeDevice(block) : NO_DEVICE;
  return {
    number,
    type,
    permissions: mode & 0xfff,
    uid,
    gid,
    size,
    links,
    mtimeSeconds: mtime.seconds,
    mtimeNanos: mtime.nanos,
    rdevMajor: major,
    rdevMinor: minor,
    hasExtents: (flags & INODE_EXTENTS) !== 0,
    isInline: (flags & INODE_INLINE_DATA) !== 0,
    xattrBlock,
    block,
    body: source.slice(INODE_BASE_BYTES + extraBytes),
  };
}

const NO_DEVICE = { major: 0, minor: 0 };
