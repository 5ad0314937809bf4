import { BLOCK_BYTES } from '../block-file.ts';
import type { DataArea } from '../data-area.ts';
import type { NodeId } from '../tree.ts';
import {
  EXTENT_BLOCKS_MAX,
  type Extent,
  type ExtentIndex,
  encodeExtent,
  encodeExtentHeader,
  encodeExtentIndex,
  extentCapacity,
} from './extent.ts';
import { INODE_BLOCK_BYTES } from './inode.ts';

const ROOT_ENTRIES = extentCapacity(INODE_BLOCK_BYTES);
const BLOCK_ENTRIES = extentCapacity(BLOCK_BYTES);

/** A node's extent tree: what its inode holds, and the blocks of nodes that it needed beside. */
export interface ExtentTree {
  /** 60 bytes for i_block. */
  readonly root: Uint8Array;
  readonly treeBlocks: number;
  readonly dataBlocks: number;
}

/** Whether the tree needs blocks of its own. */
export function needsTreeBlocks(data: DataArea, node: NodeId): boolean {
  if (data.extentCount(node) === 0) return false;
  let pieces = 0;
  for (const extent of data.extents(node)) {
    pieces += Math.ceil(extent.blocks / EXTENT_BLOCKS_MAX);
    if (pieces > ROOT_ENTRIES) return true;
  }
  return false;
}

/** Builds the tree and writes its blocks, of any depth. */
export function writeExtentTree(data: DataArea, node: NodeId): ExtentTree {
  const root = new Uint8Array(INODE_BLOCK_BYTES);
  let pieces: Extent[] = [];
  let indexes: ExtentIndex[] = [];
  let dataBlocks = 0;
  let treeBlocks = 0;
  const flushLeaf = () => {
    indexes.push({
      logical: (pieces[0] as Extent).logical,
      physical: writeNode(data, 0, pieces, encodeExtent),
    });
    treeBlocks++;
    pieces = [];
  };
  for (const piece of piecesOf(data, node)) {
    dataBlocks += piece.blocks;
    if (pieces.length === BLOCK_ENTRIES) flushLeaf();
    pieces.push(piece);
  }
  if (indexes.length === 0 && pieces.length <= ROOT_ENTRIES) {
    encodeNode(root, 0, pieces, encodeExtent);
    return { root, treeBlocks, dataBlocks };
  }
  flushLeaf();
  let depth = 1;
  for (; indexes.length > ROOT_ENTRIES; depth++) {
    const above: ExtentIndex[] = [];
    for (let at = 0; at < indexes.length; at += BLOCK_ENTRIES) {
      const part = indexes.slice(at, at + BLOCK_ENTRIES);
      const physical = writeNode(data, depth, part, encodeExtentIndex);
      above.push({ logical: (part[0] as ExtentIndex).logical, physical });
      treeBlocks++;
    }
    indexes = above;
  }
  encodeNode(root, depth, indexes, encodeExtentIndex);
  return { root, treeBlocks, dataBlocks };
}

/** A node's extents cut into lengths that an entry can hold. */
function* piecesOf(data: DataArea, node: NodeId): Generator<Extent, undefined, undefined> {
  for (const { logical, physical, blocks } of data.extents(node)) {
    for (let at = 0; at < blocks; at += EXTENT_BLOCKS_MAX)
      yield {
        logical: logical + at,
        physical: physical + at,
        blocks: Math.min(EXTENT_BLOCKS_MAX, blocks - at),
      };
  }
}

type EncodeEntry<T> = (entry: T, bytes: Uint8Array, index: number) => void;

function writeNode<T>(data: DataArea, depth: number, entries: readonly T[], encode: EncodeEntry<T>): number {
  const block = new Uint8Array(BLOCK_BYTES);
  encodeNode(block, depth, entries, encode);
  return data.writeMetadata(block);
}

function encodeNode<T>(
  bytes: Uint8Array,
  depth: number,
  entries: readonly T[],
  encode: EncodeEntry<T>,
): void {
  encodeExtentHeader({ depth, entries: entries.length, max: extentCapacity(bytes.length) }, bytes);
  entries.forEach((entry, i) => {
    encode(entry, bytes, i);
  });
}
