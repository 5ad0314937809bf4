import { decodeExtent, decodeExtentHeader, decodeExtentIndex, EXTENT_DEPTH_MAX } from '../extent.ts';
import { corrupt, of } from './corrupt.ts';
import type { Geometry } from './geometry.ts';
import type { ImageFile } from './image-file.ts';
import type { Inode } from './inode.ts';
import type { Work } from './work.ts';

const FILE_BLOCKS_MAX = 2 ** 32;

/** A stretch of a file that has data in the image; what lies between two of them is a hole. */
export interface Run {
  /** In the file, in bytes. */
  readonly position: number;
  readonly bytes: number;
  /** In the image, in bytes. */
  readonly offset: number;
}

interface Node {
  readonly bytes: Uint8Array;
  readonly entries: number;
  readonly depth: number;
  at: number;
}

/**
 * The data of a file in order, clipped to its size; neighbours are joined. The tree is walked with
 * a stack of at most six nodes. Extents must come in ascending order, so a tree cannot name
 * the same stretch of a file twice; `work` bounds what many files together may name.
 * @throws SquibError `data-loss`.
 */
export function* dataRuns(image: ImageFile, geometry: Geometry, inode: Inode, work: Work): Generator<Run> {
  let pending: { position: number; bytes: number; offset: number } | undefined;
  for (const { block, count, start } of extents(image, geometry, inode, work)) {
    const position = block * geometry.blockSize;
    if (position >= inode.size) continue;
    const bytes = Math.min(count * geometry.blockSize, inode.size - position);
    const offset = start * geometry.blockSize;
    if (
      pending &&
      pending.position + pending.bytes === position &&
      pending.offset + pending.bytes === offset
    ) {
      pending.bytes += bytes;
      continue;
    }
    if (pending) yield pending;
    pending = { position, bytes, offset };
  }
  if (pending) yield pending;
}

interface Extent {
  readonly block: number;
  readonly count: number;
  readonly start: number;
}

function* extents(image: ImageFile, geometry: Geometry, inode: Inode, work: Work): Generator<Extent> {
  if (!inode.hasExtents) {
    if (inode.block.every((byte) => byte === 0)) return;
    throw corrupt(
      `inode ${inode.number} has block lists of ext2 instead of extents, which are not supported`,
    );
  }
  const stack: Node[] = [openNode(inode, inode.block, undefined)];
  let next = 0;
  for (let node = stack.at(-1); node; node = stack.at(-1)) {
    if (node.at === node.entries) {
      stack.pop();
      continue;
    }
    const at = node.at++;
    if (node.depth > 0) {
      const { physical } = decodeExtentIndex(node.bytes, at);
      checkBlocks(geometry, inode, physical, 1);
      work.spend(1);
      const { blockSize } = geometry;
      stack.push(openNode(inode, image.view(physical * blockSize, blockSize).slice(), node.depth - 1));
      continue;
    }
    const { logical, physical, blocks, unwritten } = decodeExtent(node.bytes, at);
    if (blocks === 0) throw corrupt(`inode ${inode.number}: an extent at block ${logical} is empty`);
    if (logical < next || logical + blocks > FILE_BLOCKS_MAX)
      throw corrupt(`inode ${inode.number}: extent ${logical}+${blocks} is not in order after ${next}`);
    next = logical + blocks;
    checkBlocks(geometry, inode, physical, blocks);
    work.spend(blocks);
    if (!unwritten) yield { block: logical, count: blocks, start: physical };
  }
}

/** @param depth what the parent demands; undefined for the root. */
function openNode(inode: Inode, bytes: Uint8Array, depth: number | undefined): Node {
  const node = of(`inode ${inode.number}`, () => decodeExtentHeader(bytes));
  if (node.depth > EXTENT_DEPTH_MAX || (depth !== undefined && node.depth !== depth)) {
    const expected = depth ?? `at most ${EXTENT_DEPTH_MAX}`;
    throw corrupt(`inode ${inode.number}: extent node of depth ${node.depth}, expected ${expected}`);
  }
  return { bytes, entries: node.entries, depth: node.depth, at: 0 };
}

function checkBlocks(geometry: Geometry, inode: Inode, start: number, count: number): void {
  if (start > geometry.firstDataBlock && start + count <= geometry.blocks) return;
  throw corrupt(`inode ${inode.number}: blocks ${start}+${count}; the image has ${geometry.blocks}`);
}
