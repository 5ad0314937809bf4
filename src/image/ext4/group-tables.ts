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
  const lazy = usage.checksumUuid !== undefined;
  const descriptors = new Uint8Array(groups * GROUP_BYTES);
  const view = new DataView(descriptors.buffer);
  let freeTotal = 0;
  let run = 0;
  for (let group = 0; group < groups; group++) {
    const start = group * BLOCKS_PER_GROUP;
    const blocks = Math.min(BLOCKS_PER_GROUP, geometry.blocks - start);
    const bitmap = filledBitmap();
    let free = 0;
    for (; run < usage.free.length; run++) {
      const { start: runStart, length } = usage.free[run] as Run;
      const from = Math.max(runStart, start);
      const to = Math.min(runStart + length, start + blocks);
      if (from < to) {
        clearBits(bitmap, from - start, to - start);
        free += to - from;
      }
      if (runStart + length > start + blocks) break;
    }
    const usedInodes = Math.min(Math.max(usage.inodesUsed - group * inodesPerGroup, 0), inodesPerGroup);
    const untouchedBlocks = lazy && free === blocks && group < groups - 1;
    const untouchedInodes = lazy && usedInodes === 0;
    if (!untouchedBlocks) file.writeAt(bitmap, (bitmaps + 2 * group) * BLOCK_BYTES);
    if (!untouchedInodes) {
      const inodes = filledBitmap();
      clearBits(inodes, usedInodes, inodesPerGroup);
      file.writeAt(inodes, (bitmaps + 2 * group + 1) * BLOCK_BYTES);
    }
    const descriptor = encodeGroup({
      blockBitmap: bitmaps + 2 * group,
      inodeBitmap: bitmaps + 2 * group + 1,
      inodeTable: geometry.inodeTable + group * tableBlocksPerGroup(geometry),
      freeBlocks: free,
      freeInodes: inodesPerGroup - usedInodes,
      directories: usage.directories[group] ?? 0,
      flags:
        (untouchedBlocks ? GROUP_BLOCK_UNINIT : 0) |
        (untouchedInodes ? GROUP_INODE_UNINIT : 0) |
        (lazy ? GROUP_ITABLE_ZEROED : 0),
      unusedInodes: lazy ? inodesPerGroup - usedInodes : 0,
    });
    descriptors.set(descriptor, group * GROUP_BYTES);
    if (usage.checksumUuid) {
      const sum = groupChecksum(usage.checksumUuid, group, descriptor);
      view.setUint16(group * GROUP_BYTES + GROUP_CHECKSUM_OFFSET, sum, true);
    }
    freeTotal += free;
  }
  file.writeAt(descriptors, BLOCK_BYTES);
  return freeTotal;
}

/** Bits behind a group's end count as used. */
function filledBitmap(): Uint8Array {
  return new Uint8Array(BLOCK_BYTES).fill(0xff);
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
