import { BLOCK_BYTES, type BlockFile } from '../block-file.ts';
import type { Run } from '../free-runs.ts';
import { type Geometry, tableBlocksPerGroup } from './geometry.ts';
import {
  BLOCKS_PER_GROUP,
  encodeGroup,
  GROUP_BLOCK_UNINIT,
  GROUP_BYTES,
  GROUP_CHECKSUM_OFFSET,
  GROUP_INODE_UNINIT,
  GROUP_ITABLE_ZEROED,
  groupChecksum,
} from './group.ts';

export interface Usage {
  /** Inodes 1 to this are in use. */
  readonly inodesUsed: number;
  /** Directories by group. */
  readonly directories: Uint32Array;
  /** Free blocks, ascending and apart from each other. */
  readonly free: readonly Run[];
  /** With it, descriptors have checksums and bitmaps of untouched groups are not written. */
  readonly checksumUuid: Uint8Array | undefined;
}

/** Writes bitmaps and descriptors of all groups. @returns the number of free blocks. */
export function writeGroupTables(file: BlockFile, geometry: Geometry, usage: Usage): number {
  const { groups, inodesPerGroup, bitmaps } = geometry;
  const uuid = usage.checksumUuid;
  const descriptors = new Uint8Array(groups * GROUP_BYTES);
  const view = new DataView(descriptors.buffer);
  const freeOf = freeByGroup(geometry, usage.free);
  let freeTotal = 0;
  for (let group = 0; group < groups; group++) {
    const blocks = Math.min(BLOCKS_PER_GROUP, geometry.blocks - group * BLOCKS_PER_GROUP);
    const runs = freeOf(group);
    const free = runs.reduce((sum, run) => sum + run.length, 0);
    const usedInodes = Math.min(Math.max(usage.inodesUsed - group * inodesPerGroup, 0), inodesPerGroup);
    const untouchedBlocks = uuid !== undefined && free === blocks && group < groups - 1;
    const untouchedInodes = uuid !== undefined && usedInodes === 0;
    const blockBitmap = bitmaps + 2 * group;
    if (!untouchedBlocks) file.writeAt(bitmapWithout(runs), blockBitmap * BLOCK_BYTES);
    if (!untouchedInodes) {
      const unused = { start: usedInodes, length: inodesPerGroup - usedInodes };
      file.writeAt(bitmapWithout([unused]), (blockBitmap + 1) * BLOCK_BYTES);
    }
    const descriptor = encodeGroup({
      blockBitmap,
      inodeBitmap: blockBitmap + 1,
      inodeTable: geometry.inodeTable + group * tableBlocksPerGroup(geometry),
      freeBlocks: free,
      freeInodes: inodesPerGroup - usedInodes,
      directories: usage.directories[group] ?? 0,
      flags:
        (untouchedBlocks ? GROUP_BLOCK_UNINIT : 0) |
        (untouchedInodes ? GROUP_INODE_UNINIT : 0) |
        (uuid ? GROUP_ITABLE_ZEROED : 0),
      unusedInodes: uuid ? inodesPerGroup - usedInodes : 0,
    });
    const at = group * GROUP_BYTES;
    descriptors.set(descriptor, at);
    if (uuid) view.setUint16(at + GROUP_CHECKSUM_OFFSET, groupChecksum(uuid, group, descriptor), true);
    freeTotal += free;
  }
  file.writeAt(descriptors, BLOCK_BYTES);
  return freeTotal;
}

/** Cuts free runs, ascending, at the ends of groups. Groups must be asked for in order. */
function freeByGroup(geometry: Geometry, free: readonly Run[]): (group: number) => Run[] {
  let next = 0;
  return (group) => {
    const start = group * BLOCKS_PER_GROUP;
    const end = Math.min(start + BLOCKS_PER_GROUP, geometry.blocks);
    const runs: Run[] = [];
    for (; next < free.length; next++) {
      const run = free[next] as Run;
      const from = Math.max(run.start, start);
      const to = Math.min(run.start + run.length, end);
      if (from < to) runs.push({ start: from - start, length: to - from });
      if (run.start + run.length > end) break;
    }
    return runs;
  };
}

/** All bits set but those of the runs: what lies behind a group's end counts as used. */
function bitmapWithout(runs: readonly Run[]): Uint8Array {
  const bitmap = new Uint8Array(BLOCK_BYTES).fill(0xff);
  for (const { start, length } of runs) clearBits(bitmap, start, start + length);
  return bitmap;
}

function clearBits(bitmap: Uint8Array, from: number, to: number): void {
  let at = from;
  for (; at < to && at % 8 !== 0; at++) clearBit(bitmap, at);
  const whole = Math.max(at, to - (to % 8));
  bitmap.fill(0, at >> 3, whole >> 3);
  for (at = whole; at < to; at++) clearBit(bitmap, at);
}

function clearBit(bitmap: Uint8Array, at: number): void {
  bitmap[at >> 3] = (bitmap[at >> 3] as number) & ~(1 << (at & 7));
}
