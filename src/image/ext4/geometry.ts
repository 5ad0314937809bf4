/** Where the metadata of an image lies (docs/protocol/ext4.md). Pure arithmetic. */
import { SquibError } from '../../base/errors.ts';
import { BLOCK_BYTES } from '../block-file.ts';
import type { Run } from '../free-runs.ts';
import { BLOCKS_PER_GROUP, GROUP_BYTES } from './group.ts';
import { FIRST_INODE } from './inode.ts';

export interface Geometry {
  readonly blocks: number;
  readonly groups: number;
  readonly inodeBytes: number;
  readonly inodesPerGroup: number;
  /** Blocks of descriptors, from block 1 on. */
  readonly descriptorBlocks: number;
  /** First block of the one table of all groups' inodes. */
  readonly inodeTable: number;
  /** First block of the bitmaps: those of group g are at 2g (blocks) and 2g + 1 (inodes) from here. */
  readonly bitmaps: number;
}

/** Descriptor blocks reserved ahead of the data, since data comes before its size is known: 1 TiB. */
const IMAGE_DESCRIPTOR_BLOCKS = 64;
/** First block of data in an image. */
export const IMAGE_DATA_START = 1 + IMAGE_DESCRIPTOR_BLOCKS;
const DESCRIPTORS_PER_BLOCK = BLOCK_BYTES / GROUP_BYTES;
export const IMAGE_BLOCKS_MAX = IMAGE_DESCRIPTOR_BLOCKS * DESCRIPTORS_PER_BLOCK * BLOCKS_PER_GROUP;
/** e2fsck and the kernel want more than a few blocks in the last group. */
const LAST_GROUP_BLOCKS_MIN = 64;
/** The inode bitmap is one block, too. */
const INODES_PER_GROUP_MAX = BLOCKS_PER_GROUP;

/**
 * An image that ends where its content does: data, then the inode table, then the bitmaps.
 * @param dataEnd the block behind the data.
 * @param inodes highest inode number in use.
 */
export function imageGeometry(dataEnd: number, inodes: number, inodeBytes: number): Geometry {
  const unit = inodeUnit(inodeBytes);
  const leastGroups = Math.ceil(inodes / INODES_PER_GROUP_MAX);
  for (let groups = Math.max(1, leastGroups, Math.ceil(dataEnd / BLOCKS_PER_GROUP)); ; groups++) {
    const inodesPerGroup = Math.ceil(inodes / groups / unit) * unit;
    const tableBlocks = (groups * inodesPerGroup * inodeBytes) / BLOCK_BYTES;
    const end = dataEnd + tableBlocks + 2 * groups;
    if (groups * BLOCKS_PER_GROUP < end) continue;
    const blocks = Math.max(end, (groups - 1) * BLOCKS_PER_GROUP + LAST_GROUP_BLOCKS_MIN);
    if (blocks > IMAGE_BLOCKS_MAX)
      throw new SquibError('resource-exhausted', `an image of ${blocks} blocks; at most ${IMAGE_BLOCKS_MAX}`);
    return {
      blocks,
      groups,
      inodeBytes,
      inodesPerGroup,
      descriptorBlocks: IMAGE_DESCRIPTOR_BLOCKS,
      inodeTable: dataEnd,
      bitmaps: dataEnd + tableBlocks,
    };
  }
}

/** Blocks of an image that nothing is in: behind the descriptors, and at the end of a last group that was too small. */
export function imageGaps(geometry: Geometry): Run[] {
  const descriptorsEnd = 1 + Math.ceil(geometry.groups / DESCRIPTORS_PER_BLOCK);
  const end = geometry.bitmaps + 2 * geometry.groups;
  return [
    { start: descriptorsEnd, length: IMAGE_DATA_START - descriptorsEnd },
    { start: end, length: geometry.blocks - end },
  ];
}

/**
 * A file system of a given size that will be written to: metadata first, then room.
 * @param bytesPerInode one inode for so much space.
 * @throws SquibError `invalid-argument` if the size is too small or beyond 16 TiB.
 */
export function scratchGeometry(bytes: number, bytesPerInode: number, inodeBytes: number): Geometry {
  let blocks = Math.floor(bytes / BLOCK_BYTES);
  const rest = blocks % BLOCKS_PER_GROUP;
  if (blocks > BLOCKS_PER_GROUP && rest > 0 && rest < LAST_GROUP_BLOCKS_MIN) blocks -= rest;
  const groups = Math.ceil(blocks / BLOCKS_PER_GROUP);
  const unit = inodeUnit(inodeBytes);
  const wanted = Math.max((blocks * BLOCK_BYTES) / bytesPerInode, FIRST_INODE) / groups;
  const inodesPerGroup = Math.min(Math.ceil(wanted / unit) * unit, INODES_PER_GROUP_MAX);
  const descriptorBlocks = Math.ceil(groups / DESCRIPTORS_PER_BLOCK);
  const bitmaps = 1 + descriptorBlocks;
  const inodeTable = bitmaps + 2 * groups;
  const geometry = { blocks, groups, inodeBytes, inodesPerGroup, descriptorBlocks, bitmaps, inodeTable };
  if (scratchDataStart(geometry) + LAST_GROUP_BLOCKS_MIN > blocks || blocks >= 2 ** 32)
    throw new SquibError(
      'invalid-argument',
      `a scratch file system of ${bytes} bytes; 1 MiB to 16 TiB are possible`,
    );
  return geometry;
}

/** First block of a scratch's data. */
export function scratchDataStart(geometry: Geometry): number {
  return geometry.inodeTable + geometry.groups * tableBlocksPerGroup(geometry);
}

export function tableBlocksPerGroup(geometry: Geometry): number {
  return (geometry.inodesPerGroup * geometry.inodeBytes) / BLOCK_BYTES;
}

/** A group's inodes fill whole blocks of the table and whole bytes of the bitmap. */
function inodeUnit(inodeBytes: number): number {
  return Math.max(8, BLOCK_BYTES / inodeBytes);
}
