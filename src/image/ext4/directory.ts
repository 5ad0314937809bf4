import { SquibError } from '../../base/errors.ts';
import { BLOCK_BYTES, type BlockFile } from '../block-file.ts';
import type { DataArea } from '../data-area.ts';
import type { NodeId, Tree } from '../tree.ts';
import { direntBytes, direntType, encodeDirent } from './dirent.ts';
import {
  encodeHtreeNode,
  encodeHtreeRoot,
  HTREE_NODE_ENTRIES_MAX,
  HTREE_ROOT_ENTRIES_MAX,
  type HtreeEntry,
  type NameHash,
} from './htree.ts';

/** Up to so many blocks a search from the front is as fast as the index. */
const LINEAR_BLOCKS_MAX = 2;
/** Leaves that two levels of index reach. */
const LEAVES_MAX = HTREE_ROOT_ENTRIES_MAX * HTREE_NODE_ENTRIES_MAX;
/** "." and "..". */
const DOTS_BYTES = 24;
const DOT = new Uint8Array([0x2e]);
const DOT_DOT = new Uint8Array([0x2e, 0x2e]);
const DIRECTORY_TYPE = 2;

/** What directories are written with. */
export interface DirectoryTarget {
  readonly tree: Tree;
  readonly data: DataArea;
  readonly file: BlockFile;
  /** Inode number by node. */
  readonly inodes: Uint32Array;
  readonly hash: NameHash;
}

/**
 * Writes a directory's blocks: in the order of the names, or with an index over their hashes.
 * @returns whether it has an index.
 */
export function writeDirectory(target: DirectoryTarget, node: NodeId): boolean {
  const { tree } = target;
  const entries = tree.entries(node);
  let bytes = DOTS_BYTES;
  for (const entry of entries) bytes += direntBytes(tree.entryName(entry).length);
  if (bytes > LINEAR_BLOCKS_MAX * BLOCK_BYTES) {
    writeIndexed(target, node, entries);
    return true;
  }
  const blocks: Uint8Array[] = [];
  let packer = new Packer(target, node);
  packer.addDots();
  for (const entry of entries) {
    if (packer.add(entry)) continue;
    blocks.push(packer.finish());
    packer = new Packer(target, node);
    packer.add(entry);
  }
  blocks.push(packer.finish());
  const all = blocks.length === 1 ? (blocks[0] as Uint8Array) : Buffer.concat(blocks);
  target.data.place(node, target.data.writeMetadata(all), all.length);
  return false;
}

/** Fills one block with entries from the front; the last reaches to the block's end. */
class Packer {
  readonly #target: DirectoryTarget;
  readonly #node: NodeId;
  readonly #block = new Uint8Array(BLOCK_BYTES);
  #end = 0;
  #last = 0;

  constructor(target: DirectoryTarget, node: NodeId) {
    this.#target = target;
    this.#node = node;
  }

  addDots(): void {
    const { inodes, tree } = this.#target;
    this.#put(inodes[this.#node] as number, DIRECTORY_TYPE, DOT, 12);
    this.#put(inodes[tree.parent(this.#node)] as number, DIRECTORY_TYPE, DOT_DOT, 12);
  }

  /** @returns false if the block has no room for it. */
  add(entry: number): boolean {
    const { tree, inodes } = this.#target;
    const name = tree.entryName(entry);
    const length = direntBytes(name.length);
    if (this.#end + length > BLOCK_BYTES) return false;
    const node = tree.entryNode(entry);
    this.#put(inodes[node] as number, direntType(tree.mode(node)), name, length);
    return true;
  }

  finish(): Uint8Array {
    const stretched = BLOCK_BYTES - this.#last;
    this.#block[this.#last + 4] = stretched & 0xff;
    this.#block[this.#last + 5] = stretched >> 8;
    return this.#block;
  }

  #put(inode: number, type: number, name: Uint8Array, length: number): void {
    encodeDirent({ inode, length, type, name }, this.#block, this.#end);
    this.#last = this.#end;
    this.#end += length;
  }
}

function writeIndexed(target: DirectoryTarget, node: NodeId, entries: Uint32Array): void {
  const { tree, data, file, inodes } = target;
  const hashes = hashOrder(target, entries);
  const leaves = packLeaves(tree, entries, hashes);
  if (leaves.length > LEAVES_MAX)
    throw new SquibError('resource-exhausted', `a directory of ${entries.length} entries: its index is full`);
  const levels = leaves.length > HTREE_ROOT_ENTRIES_MAX ? 1 : 0;
  const innerBlocks = levels * Math.ceil(leaves.length / HTREE_NODE_ENTRIES_MAX);
  const blocks = 1 + innerBlocks + leaves.length;
  const start = data.metadataBlocks(blocks);
  file.seek(start);
  const bottom = leaves.map(({ hash }, i) => ({ hash, block: 1 + innerBlocks + i }));
  const inner = levels === 0 ? [] : chunks(bottom);
  const top = inner.map((part, i) => ({ hash: (part[0] as HtreeEntry).hash, block: 1 + i }));
  const self = inodes[node] as number;
  const parent = inodes[tree.parent(node)] as number;
  file.append(encodeHtreeRoot(self, parent, levels, levels === 0 ? bottom : top));
  for (const part of inner) file.append(encodeHtreeNode(part));
  leaves.forEach(({ first }, i) => {
    const end = leaves[i + 1]?.first ?? entries.length;
    const packer = new Packer(target, node);
    for (let at = first; at < end; at++) packer.add(entries[at] as number);
    file.append(packer.finish());
  });
  data.place(node, start, blocks * BLOCK_BYTES);
}

/** Brings the entries, which come by name, into the order of their hashes. @returns the hashes. */
function hashOrder({ tree, hash }: DirectoryTarget, entries: Uint32Array): Uint32Array {
  const byName = entries.slice();
  const unsorted = new Uint32Array(entries.length);
  byName.forEach((entry, i) => {
    unsorted[i] = hash(tree.entryName(entry));
  });
  const order = new Uint32Array(entries.length).map((_, i) => i);
  order.sort((a, b) => (unsorted[a] as number) - (unsorted[b] as number) || a - b);
  order.forEach((from, to) => {
    entries[to] = byName[from] as number;
  });
  return order.map((from) => unsorted[from] as number);
}

interface Leaf {
  /** Position of its first entry. */
  readonly first: number;
  /** For the index: with the lowest bit set if the leaf before ends with the same hash. */
  readonly hash: number;
}

function packLeaves(tree: Tree, entries: Uint32Array, hashes: Uint32Array): Leaf[] {
  const leaves: Leaf[] = [];
  let used = BLOCK_BYTES;
  for (let at = 0; at < entries.length; at++) {
    const length = direntBytes(tree.entryName(entries[at] as number).length);
    if (used + length > BLOCK_BYTES) {
      const hash = hashes[at] as number;
      leaves.push({ first: at, hash: at > 0 && hashes[at - 1] === hash ? hash + 1 : hash });
      used = 0;
    }
    used += length;
  }
  return leaves;
}

function chunks(entries: readonly HtreeEntry[]): HtreeEntry[][] {
  const parts: HtreeEntry[][] = [];
  for (let at = 0; at < entries.length; at += HTREE_NODE_ENTRIES_MAX)
    parts.push(entries.slice(at, at + HTREE_NODE_ENTRIES_MAX));
  return parts;
}
