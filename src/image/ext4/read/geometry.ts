import { SquibError } from '../../../base/errors.ts';
import { GROUP_BYTES } from '../group.ts';
import { INODE_BASE_BYTES } from '../inode.ts';
import {
  decodeSuperblock,
  INCOMPAT,
  STATE_CLEAN,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_MAGIC,
  SUPERBLOCK_OFFSET,
} from '../superblock.ts';
import { corrupt } from './corrupt.ts';
import type { ImageFile } from './image-file.ts';

/** s_state: errors were seen. */
const STATE_ERRORS = 2;

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
const FIRST_INODE_MIN = 10;

/** The checked numbers of a superblock: every one is within what the file can hold. */
export interface Geometry {
  readonly blockSize: number;
  readonly blocks: number;
  /** Block 1 on 1 KiB blocks, else 0. */
  readonly firstDataBlock: number;
  readonly inodes: number;
  readonly inodesPerGroup: number;
  readonly inodeSize: number;
  readonly descriptorSize: number;
  /** Unmounted in order and without known errors. */
  readonly isClean: boolean;
}

/**
 * Reads the superblock.
 * @throws SquibError `data-loss` for one that is damaged, `unimplemented` for a feature that this
 *   reader does not have, `failed-precondition` for a journal that must be replayed first.
 */
export function readGeometry(image: ImageFile): Geometry {
  if (image.size < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES) {
    throw corrupt(`"${image.path}" has ${image.size} bytes and no room for a superblock`);
  }
  const superblock = decodeSuperblock(image.view(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES));
  const { magic, revision, incompat, logBlockSize, firstDataBlock, descriptorBytes } = superblock;
  if (magic !== SUPERBLOCK_MAGIC)
    throw corrupt(`"${image.path}" is no ext4 image: magic ${hex(magic)}, expected 0xef53`);
  checkFeatures(image.path, revision, incompat);
  within('s_log_block_size', logBlockSize, 0, LOG_BLOCK_SIZE_MAX);
  const blockSize = 1024 << logBlockSize;
  const blocks = within('s_blocks_count', superblock.blocksCount, 8, Math.floor(image.size / blockSize));
  if (firstDataBlock !== (logBlockSize === 0 ? 1 : 0))
    throw corrupt(`superblock: first data block ${firstDataBlock} with blocks of ${blockSize}`);
  const blocksPerGroup = within('s_blocks_per_group', superblock.blocksPerGroup, 8, 8 * blockSize);
  const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup);
  const inodesPerGroup = within('s_inodes_per_group', superblock.inodesPerGroup, 1, 8 * blockSize);
  const inodes = within('s_inodes_count', superblock.inodesCount, FIRST_INODE_MIN, groups * inodesPerGroup);
  const inodeSize = revision === 0 ? INODE_BASE_BYTES : superblock.inodeBytes;
  powerOfTwo('s_inode_size', inodeSize, INODE_BASE_BYTES, blockSize);
  const is64bit = (incompat & INCOMPAT.bit64) !== 0;
  const descriptorSize = is64bit ? powerOfTwo('s_desc_size', descriptorBytes, 64, 1024) : GROUP_BYTES;
  const descriptors = (firstDataBlock + 1) * blockSize + groups * descriptorSize;
  if (descriptors > blocks * blockSize)
    throw corrupt(`superblock: ${groups} group descriptors do not fit into ${blocks} blocks`);
  return {
    blockSize,
    blocks,
    firstDataBlock,
    inodes,
    inodesPerGroup,
    inodeSize,
    descriptorSize,
    isClean: (superblock.state & (STATE_CLEAN | STATE_ERRORS)) === STATE_CLEAN,
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
  if ((incompat & INCOMPAT.recover) !== 0) {
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
