import type { BlockFile } from '../block-file.ts';
import { u32Column } from '../column.ts';
import type { DataArea } from '../data-area.ts';
import { type NodeId, S_IFLNK, S_IFMT, type Tree } from '../tree.ts';
import { writeDirectory } from './directory.ts';
import { type ExtentTree, needsTreeBlocks, writeExtentTree } from './extent-tree.ts';
import { halfMd4 } from './htree.ts';
import { FIRST_INODE, INODE_BASE_BYTES, INODE_BLOCK_BYTES, INODE_EXTRA_BYTES, ROOT_INODE } from './inode.ts';
import { inlineDataEntry, xattrBytes } from './xattr.ts';
import { entrySum, nodePlacement, XattrBlocks, xattrBodySpace } from './xattr-placement.ts';

/** A target up to this length lives in the inode. */
export const FAST_SYMLINK_BYTES_MAX = INODE_BLOCK_BYTES - 1;
const INLINE_ENTRY_BYTES = xattrBytes(inlineDataEntry(new Uint8Array(0)));

/** Bytes of a file that an inode holds when it has no attributes of its own; 0 if it has no room. */
export function inlineBytesMax(inodeBytes: number): number {
  return Math.max(0, INODE_BLOCK_BYTES + bodySpaceOf(inodeBytes) - INLINE_ENTRY_BYTES);
}

/** Bytes of attribute entries that an inode's body holds. */
export function bodySpaceOf(inodeBytes: number): number {
  return xattrBodySpace(inodeBytes - INODE_BASE_BYTES - INODE_EXTRA_BYTES);
}

/** What the inode table is made from, once everything else is in the file. */
export interface Contents {
  readonly tree: Tree;
  readonly data: DataArea;
  /** Inode number by node; 0: the node was removed. */
  readonly inodes: Uint32Array;
  /** Highest inode number in use. */
  readonly inodesUsed: number;
  /** Subdirectories by directory node. */
  readonly subdirectories: Uint32Array;
  readonly xattrBlocks: XattrBlocks;
  /** Extent trees that needed blocks. */
  readonly extentTrees: ReadonlyMap<NodeId, ExtentTree>;
  /** Directories with an index. */
  readonly indexed: ReadonlySet<NodeId>;
}

export interface ContentsOptions {
  readonly inodeBytes: number;
  readonly hashSeed: Uint8Array;
}

/**
 * Numbers the inodes in the order of the nodes and writes all that needs blocks: attributes,
 * link targets, directories, extent trees. Afterwards only the tables are missing.
 */
export function writeContents(
  tree: Tree,
  data: DataArea,
  file: BlockFile,
  options: ContentsOptions,
): Contents {
  const { inodes, inodesUsed, subdirectories } = numberInodes(tree);
  const xattrBlocks = writeXattrBlocks(tree, data, options.inodeBytes);
  const bodySpace = bodySpaceOf(options.inodeBytes);
  const target = { tree, data, file, inodes, hash: halfMd4(options.hashSeed) };
  const indexed = new Set<NodeId>();
  const extentTrees = new Map<NodeId, ExtentTree>();
  for (let node = 0; node < tree.nodeIdEnd; node++) {
    if (inodes[node] === 0) continue;
    if (tree.isDirectory(node)) {
      if (writeDirectory(target, node)) indexed.add(node);
    } else if ((tree.mode(node) & S_IFMT) === S_IFLNK) {
      writeLongTarget(tree, data, node);
    } else if (tree.xattrSet(node) !== 0) {
      promoteIfCrowded(tree, data, node, bodySpace);
    }
    if (needsTreeBlocks(data, node)) extentTrees.set(node, writeExtentTree(data, node));
  }
  file.flush();
  return { tree, data, inodes, inodesUsed, subdirectories, xattrBlocks, extentTrees, indexed };
}

function numberInodes(tree: Tree): Pick<Contents, 'inodes' | 'inodesUsed' | 'subdirectories'> {
  const inodes = new Uint32Array(tree.nodeIdEnd);
  const subdirectories = new Uint32Array(tree.nodeIdEnd);
  inodes[tree.root] = ROOT_INODE;
  let next = FIRST_INODE;
  for (let node = 1; node < tree.nodeIdEnd; node++) {
    if (tree.links(node) === 0) continue;
    inodes[node] = next++;
    if (!tree.isDirectory(node)) continue;
    const parent = tree.parent(node);
    subdirectories[parent] = (subdirectories[parent] as number) + 1;
  }
  return { inodes, inodesUsed: next - 1, subdirectories };
}

/** Each set is looked at once; what its nodes have in blocks is known from that. */
function writeXattrBlocks(tree: Tree, data: DataArea, inodeBytes: number): XattrBlocks {
  const blocks = new XattrBlocks(data);
  const bodySpace = bodySpaceOf(inodeBytes);
  /** By set: 1 nothing in a block, 2 something. */
  const kinds = u32Column();
  kinds.reserve(tree.xattrSetCount + 1);
  const samples: [set: number, node: NodeId][] = [];
  for (let node = 0; node < tree.nodeIdEnd; node++) {
    const set = tree.links(node) === 0 ? 0 : tree.xattrSet(node);
    if (set === 0) continue;
    if (kinds.cells[set] === 0) {
      const inBlock = (nodePlacement(tree, node, bodySpace)?.block.length ?? 0) > 0;
      kinds.cells[set] = inBlock ? 2 : 1;
      if (inBlock) samples.push([set, node]);
    }
    if (kinds.cells[set] === 2) blocks.count(set);
  }
  for (const [set, node] of samples) blocks.write(set, nodePlacement(tree, node, bodySpace)?.block ?? []);
  return blocks;
}

function writeLongTarget(tree: Tree, data: DataArea, node: NodeId): void {
  const target = tree.attributes(node).target ?? '';
  if (target.length > FAST_SYMLINK_BYTES_MAX)
    data.place(node, data.writeMetadata(Buffer.from(target, 'latin1')), target.length);
}

/** Attributes go first: content that then has no room in the inode moves to a block. */
function promoteIfCrowded(tree: Tree, data: DataArea, node: NodeId, bodySpace: number): void {
  const content = data.inline(node);
  if (!content) return;
  const taken = entrySum(nodePlacement(tree, node, bodySpace)?.body ?? []);
  const inBody = Math.max(0, content.length - INODE_BLOCK_BYTES);
  if (taken + INLINE_ENTRY_BYTES + ((inBody + 3) & ~3) > bodySpace) data.promote(node);
}
