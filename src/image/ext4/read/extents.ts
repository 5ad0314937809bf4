import { corrupt } from './corrupt.ts';
import type { Geometry } from './geometry.ts';
import type { ImageFile } from './image-file.ts';
import { FLAG_EXTENTS, type Inode } from './inode.ts';
import type { Work } from './work.ts';

const MAGIC = 0xf30a;
const DEPTH_MAX = 5;
/** Header, index entry and extent alike. */
const RECORD_BYTES = 12;
/** A longer length marks an extent that was allocated but never written: it reads as zeroes. */
const INITIALISED_BLOCKS_MAX = 32768;
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
  readonly view: DataView;
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
  if ((inode.flags & FLAG_EXTENTS) === 0) {
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
    const at = RECORD_BYTES * ++node.at;
    if (node.depth > 0) {
      const child = node.view.getUint32(at + 4, true) + node.view.getUint16(at + 8, true) * 2 ** 32;
      checkBlocks(geometry, inode, child, 1);
      work.spend(1);
      const { blockSize } = geometry;
      stack.push(openNode(inode, image.view(child * blockSize, blockSize).slice(), node.depth - 1));
      continue;
    }
    const block = node.view.getUint32(at, true);
    const length = node.view.getUint16(at + 4, true);
    const start = node.view.getUint32(at + 8, true) + node.view.getUint16(at + 6, true) * 2 ** 32;
    const isWritten = length <= INITIALISED_BLOCKS_MAX;
    const count = isWritten ? length : length - INITIALISED_BLOCKS_MAX;
    if (count === 0) throw corrupt(`inode ${inode.number}: an extent at block ${block} is empty`);
    if (block < next || block + count > FILE_BLOCKS_MAX)
      throw corrupt(`inode ${inode.number}: extent ${block}+${count} is not in order after ${next}`);
    next = block + count;
    checkBlocks(geometry, inode, start, count);
    work.spend(count);
    if (isWritten) yield { block, count, start };
  }
}

/** @param depth what the parent demands; undefined for the root. */
function openNode(inode: Inode, bytes: Uint8Array, depth: number | undefined): Node {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const magic = view.getUint16(0, true);
  if (magic !== MAGIC)
    throw corrupt(`inode ${inode.number}: extent node with magic 0x${magic.toString(16)}, expected 0xf30a`);
  const entries = view.getUint16(2, true);
  const room = Math.floor(bytes.length / RECORD_BYTES) - 1;
  if (entries > room)
    throw corrupt(`inode ${inode.number}: extent node with ${entries} entries, at most ${room}`);
  const own = view.getUint16(6, true);
  if (own > DEPTH_MAX || (depth !== undefined && own !== depth))
    throw corrupt(
      `inode ${inode.number}: extent node of depth ${own}, expected ${depth ?? `at most ${DEPTH_MAX}`}`,
    );
  return { view, entries, depth: own, at: 0 };
}

function checkBlocks(geometry: Geometry, inode: Inode, start: number, count: number): void {
  if (start > geometry.firstDataBlock && start + count <= geometry.blocks) return;
  throw corrupt(`inode ${inode.number}: blocks ${start}+${count}; the image has ${geometry.blocks}`);
}
