import { SquibError } from '../../../base/errors.ts';
import { corrupt } from './corrupt.ts';
import type { ImageFile } from './image-file.ts';

const SUPERBLOCK_AT = 1024;
const SUPERBLOCK_BYTES = 1024;
const MAGIC = 0xef53;

/** s_state: unmounted in order; errors were seen. */
const STATE_VALID = 1;
const STATE_ERRORS = 2;

const INCOMPAT_RECOVER = 0x4;
const INCOMPAT_64BIT = 0x80;
/**
 * What this reader understands: filetype, recover (refused on its own), extents, 64bit, flex_bg,
 * ea_inode (refused where it is used), csum_seed, largedir and inline_data.
 */
const INCOMPAT_KNOWN = 0x2 | 0x4 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000;
const INCOMPAT_NAMES: Readonly<Record<number, string>> = {
  1: 'compression',
  8: 'journal_dev',
  16: 'meta_bg',
  256: 'mmp',
  4096: 'dirdata',
  65536: 'encrypt',
  131072: 'casefold',
};

/** Linux on 4 KiB pages mounts nothing larger. */
const LOG_BLOCK_SIZE_MAX = 2;
const INODE_BYTES_MIN = 128;
const FIRST_INODE_MIN = 10;

/** The checked numbers of a superblock: every one is within what the file can hold. */
export interface Geometry {
  readonly blockSize: number;
  readonly blocks: number;
  /** Block 1 on 1 KiB blocks, else 0. */
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly groups: number;
  readonly inodes: number;
  readonly inodesPerGroup: number;
  readonly inodeSize: number;
  readonly descriptorSize: number;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  readonly is64bit: boolean;
  /** Unmounted in order and without known errors. */
  readonly isClean: boolean;
  /** 16 raw bytes. */
  readonly uuid: Uint8Array;
}

/**
 * Reads the superblock.
 * @throws SquibError `data-loss` for one that is damaged, `unimplemented` for a feature that this
 *   reader does not have, `failed-precondition` for a journal that must be replayed first.
 */
export function readGeometry(image: ImageFile): Geometry {
  if (image.size < SUPERBLOCK_AT + SUPERBLOCK_BYTES) {
    throw corrupt(`"${image.path}" has ${image.size} bytes and no room for a superblock`);
  }
  const bytes = image.view(SUPERBLOCK_AT, SUPERBLOCK_BYTES).slice();
  const view = new DataView(bytes.buffer);
  const u16 = (at: number) => view.getUint16(at, true);
  const u32 = (at: number) => view.getUint32(at, true);
  if (u16(0x38) !== MAGIC)
    throw corrupt(`"${image.path}" is no ext4 image: magic ${hex(u16(0x38))}, expected 0xef53`);
  checkFeatures(image.path, u32(0x4c), u32(0x60));
  const logBlockSize = within('s_log_block_size', u32(0x18), 0, LOG_BLOCK_SIZE_MAX);
  const blockSize = 1024 << logBlockSize;
  const is64bit = (u32(0x60) & INCOMPAT_64BIT) !== 0;
  const blocks = u32(0x4) + (is64bit ? u32(0x150) * 2 ** 32 : 0);
  within('s_blocks_count', blocks, 8, Math.floor(image.size / blockSize));
  const firstDataBlock = within('s_first_data_block', u32(0x14), 0, 1);
  if (firstDataBlock !== (logBlockSize === 0 ? 1 : 0))
    throw corrupt(`superblock: first data block ${firstDataBlock} with blocks of ${blockSize}`);
  const blocksPerGroup = within('s_blocks_per_group', u32(0x20), 8, 8 * blockSize);
  const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup);
  const inodesPerGroup = within('s_inodes_per_group', u32(0x28), 1, 8 * blockSize);
  const inodes = within('s_inodes_count', u32(0x0), FIRST_INODE_MIN, groups * inodesPerGroup);
  const inodeSize = u32(0x4c) === 0 ? INODE_BYTES_MIN : u16(0x58);
  powerOfTwo('s_inode_size', inodeSize, INODE_BYTES_MIN, blockSize);
  const descriptorSize = is64bit ? powerOfTwo('s_desc_size', u16(0xfe), 64, 1024) : 32;
  const descriptors = (firstDataBlock + 1) * blockSize + groups * descriptorSize;
  if (descriptors > blocks * blockSize)
    throw corrupt(`superblock: ${groups} group descriptors do not fit into ${blocks} blocks`);
  return {
    blockSize,
    blocks,
    firstDataBlock,
    blocksPerGroup,
    groups,
    inodes,
    inodesPerGroup,
    inodeSize,
    descriptorSize,
    freeBlocks: u32(0xc) + (is64bit ? u32(0x158) * 2 ** 32 : 0),
    freeInodes: u32(0x10),
    is64bit,
    isClean: (u16(0x3a) & (STATE_VALID | STATE_ERRORS)) === STATE_VALID,
    uuid: bytes.slice(0x68, 0x78),
  };
}

/** Read-only-compatible features never hinder a reader; incompatible ones must be known. */
function checkFeatures(path: string, revision: number, incompat: number): void {
  if (revision > 1)
    throw new SquibError('unimplemented', `"${path}" has ext4 revision ${revision}; known: 0, 1`);
  const unknown = incompat & ~INCOMPAT_KNOWN;
  if (unknown !== 0) {
    const names = Object.entries(INCOMPAT_NAMES).filter(([bit]) => (unknown & Number(bit)) !== 0);
    const shown = names.map(([, name]) => name).join(', ') || 'no name known';
    throw new SquibError('unimplemented', `"${path}" uses ext4 features ${hex(unknown)} (${shown})`);
  }
  if ((incompat & INCOMPAT_RECOVER) !== 0) {
    throw new SquibError(
      'failed-precondition',
      `"${path}" has a journal that was not replayed: it was not unmounted in order. Run e2fsck on a copy, or start its container again`,
    );
  }
}

function within(name: string, value: number, min: number, max: number): number {
  if (value >= min && value <= max) return value;
  throw corrupt(`superblock: ${name} is ${value}; expected ${min} to ${max}`);
}

function powerOfTwo(name: string, value: number, min: number, max: number): number {
  within(name, value, min, max);
  if ((value & (value - 1)) === 0) return value;
  throw corrupt(`superblock: ${name} is ${value}; expected a power of two`);
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}
