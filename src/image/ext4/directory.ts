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

const DOT = new Uint8Array([0x2e]);
const DOT_DOT = new Uint8Array([0x2e, 0x2e]);

/** What directories are written with. */
export interface DirectoryTarget {
  readonly tree: Tree;
  readonly data: DataArea;
  readonly file: BlockFile;
  /** Inode number by node. */
  readonly inodes: Uint32Array;
  readonly hash: NameHash;
}

/** Writes a directory's blocks. @returns whether it has an index. */
export function writeDirectory(target: DirectoryTarget, node: NodeId): boolean {
  const packer = new LeafPacker();
  const self = target.inodes[node] as number;
  const parent = target.inodes[target.tree.parent(node)] as number;
  packer.add(self, 2, DOT);
  packer.add(parent, 2, DOT_DOT);
  const linear: Uint8Array[] = [];
  for (const child of target.tree.children(node)) {
    const name = Buffer.from(child.name, 'latin1');
    const full = packer.add(
      target.inodes[child.node] as number,
      direntType(target.tree.mode(child.node)),
      name,
    );
    if (full) linear.push(full.slice());
    if (linear.length >= LINEAR_BLOCKS_MAX) return writeIndexed(target, node);
  }
  linear.push(packer.finish());
  const bytes = linear.length === 1 ? (linear[0] as Uint8Array) : Buffer.concat(linear);
  target.data.place(node, target.data.writeMetadata(bytes), bytes.length);
  return false;
}

/** Fills blocks with entries from the front; the last entry of each reaches to the block's end. */
class LeafPacker {
  readonly #block = new Uint8Array(BLOCK_BYTES);
  #end = 0;
  #last = 0;

  /** @returns the block before, a view until the next call, if the entry began a new one. */
  add(inode: number, type: number, name: Uint8Array): Uint8Array | undefined {
    const length = direntBytes(name.length);
    let full: Uint8Array | undefined;
    if (this.#end + length > BLOCK_BYTES) {
      full = this.finish().slice();
      this.#block.fill(0);
      this.#end = 0;
    }
    encodeDirent({ inode, length, type, name }, this.#block, this.#end);
    this.#last = this.#end;
    this.#end += length;
    return full;
  }

  finish(): Uint8Array {
    const stretched = BLOCK_BYTES - this.#last;
    this.#block[this.#last + 4] = stretched & 0xff;
    this.#block[this.#last + 5] = stretched >> 8;
    return this.#block;
  }
}

/** The children of a directory in the order of their names' hashes. */
interface HashedChildren {
  readonly nodes: Uint32Array;
  readonly hashes: Uint32Array;
  /** Positions in the two above, by hash, then by name. */
  readonly order: Uint32Array;
}

function writeIndexed(target: DirectoryTarget, node: NodeId): boolean {
  const { tree, data, file } = target;
  const names = [...tree.children(node)];
  const children = hashChildren(names, target.hash);
  const leaves = packLeaves(names, children);
  const indexBlocks =
    leaves.length > HTREE_ROOT_ENTRIES_MAX ? Math.ceil(leaves.length / HTREE_NODE_ENTRIES_MAX) : 0;
  if (leaves.length > LEAVES_MAX)
    throw new SquibError(
      'resource-exhausted',
      `a directory of ${names.length} entries: more than an index holds`,
    );
  const blocks = 1 + indexBlocks + leaves.length;
  const start = data.metadataBlocks(blocks);
  file.seek(start);
  const entries = leaves.map(({ hash }, i) => ({ hash, block: 1 + indexBlocks + i }));
  const [top, inner] = indexBlocks === 0 ? [entries, []] : innerBlocks(entries);
  const self = target.inodes[node] as number;
  const parent = target.inodes[tree.parent(node)] as number;
  file.append(encodeHtreeRoot(self, parent, indexBlocks === 0 ? 0 : 1, top));
  for (const block of inner) file.append(encodeHtreeNode(block));
  leaves.forEach(({ first }, i) => {
    const end = leaves[i + 1]?.first ?? names.length;
    const packer = new LeafPacker();
    for (let at = first; at < end; at++) {
      const child = names[children.order[at] as number] as (typeof names)[number];
      const inode = target.inodes[child.node] as number;
      packer.add(inode, direntType(tree.mode(child.node)), Buffer.from(child.name, 'latin1'));
    }
    file.append(packer.finish());
  });
  data.place(node, start, blocks * BLOCK_BYTES);
  return true;
}

function hashChildren(names: readonly { name: string; node: NodeId }[], hash: NameHash): HashedChildren {
  const nodes = new Uint32Array(names.length);
  const hashes = new Uint32Array(names.length);
  names.forEach(({ name, node }, i) => {
    nodes[i] = node;
    hashes[i] = hash(Buffer.from(name, 'latin1'));
  });
  const order = new Uint32Array(names.length).map((_, i) => i);
  order.sort((a, b) => (hashes[a] as number) - (hashes[b] as number) || a - b);
  return { nodes, hashes, order };
}

interface Leaf {
  /** Position in the order of its first entry. */
  readonly first: number;
  /** For the index: with the lowest bit set if the leaf before ends with the same hash. */
  readonly hash: number;
}

function packLeaves(names: readonly { name: string }[], { order, hashes }: HashedChildren): Leaf[] {
  const leaves: Leaf[] = [];
  let used = BLOCK_BYTES;
  let previous = -1;
  order.forEach((child, at) => {
    const length = direntBytes((names[child] as { name: string }).name.length);
    const hash = hashes[child] as number;
    if (used + length > BLOCK_BYTES) {
      leaves.push({ first: at, hash: hash === previous ? hash + 1 : hash });
      used = 0;
    }
    used += length;
    previous = hash;
  });
  return leaves;
}

/** Blocks between root and leaves: block 1 + i of the directory is the i-th. */
function innerBlocks(entries: readonly HtreeEntry[]): [HtreeEntry[], HtreeEntry[][]] {
  const top: HtreeEntry[] = [];
  const inner: HtreeEntry[][] = [];
  for (let at = 0; at < entries.length; at += HTREE_NODE_ENTRIES_MAX) {
    const part = entries.slice(at, at + HTREE_NODE_ENTRIES_MAX);
    top.push({ hash: (part[0] as HtreeEntry).hash, block: 1 + inner.length });
    inner.push(part);
  }
  return [top, inner];
}
