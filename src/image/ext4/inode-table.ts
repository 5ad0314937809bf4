import { BLOCK_BYTES, type BlockFile } from '../block-file.ts';
import {
  type Attributes,
  type NodeId,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../tree.ts';
import { bodySpaceOf, type Contents, FAST_SYMLINK_BYTES_MAX } from './contents.ts';
import { writeExtentTree } from './extent-tree.ts';
import type { Geometry } from './geometry.ts';
import {
  encodeDevice,
  encodeInode,
  INODE_BASE_BYTES,
  INODE_BLOCK_BYTES,
  INODE_EXTENTS,
  INODE_EXTRA_BYTES,
  INODE_INDEX,
  INODE_INLINE_DATA,
} from './inode.ts';
import { encodeXattrBody, inlineDataEntry, type XattrEntry } from './xattr.ts';
import { placeXattrs } from './xattr-placement.ts';

/** Inodes are written in pieces of so many bytes: a multiple of every inode size. */
const PIECE_BYTES = 1 << 20;
const SECTORS_PER_BLOCK = BLOCK_BYTES / 512;
/** From here on a directory says 1: more subdirectories than anyone counts (dir_nlink). */
const DIRECTORY_LINKS_MAX = 65_000;

/** Writes the inodes of all nodes. @returns the number of directories by group. */
export function writeInodeTable(file: BlockFile, geometry: Geometry, contents: Contents): Uint32Array {
  const { inodeBytes, inodesPerGroup } = geometry;
  const { tree, inodes } = contents;
  const directories = new Uint32Array(geometry.groups);
  const piece = new Uint8Array(PIECE_BYTES);
  const view = new DataView(piece.buffer);
  const tableStart = geometry.inodeTable * BLOCK_BYTES;
  let pieceStart = 0;
  let pieceEnd = 0;
  const flush = () => file.writeAt(piece.subarray(0, pieceEnd - pieceStart), tableStart + pieceStart);
  for (let node = 0; node < tree.nodeIdEnd; node++) {
    const number = inodes[node] as number;
    if (number === 0) continue;
    const at = (number - 1) * inodeBytes;
    if (at + inodeBytes > pieceStart + PIECE_BYTES) {
      flush();
      piece.fill(0);
      pieceStart = at;
    }
    writeInode(contents, node, view, at - pieceStart, inodeBytes);
    pieceEnd = at + inodeBytes;
    if (tree.isDirectory(node)) {
      const group = Math.floor((number - 1) / inodesPerGroup);
      directories[group] = (directories[group] as number) + 1;
    }
  }
  flush();
  return directories;
}

const NOTHING = new Uint8Array(0);

/** What differs by the kind of a node. */
interface Body {
  flags: number;
  size: number;
  /** 4096-byte blocks, those of the extent tree included. */
  blocks: number;
  block: Uint8Array;
  /** The entry of inline data, if any. */
  inline?: XattrEntry;
}

function writeInode(contents: Contents, node: NodeId, view: DataView, at: number, inodeBytes: number): void {
  const { tree } = contents;
  const attributes = tree.attributes(node);
  const body = bodyOf(contents, node, attributes);
  const placement = attributes.xattrs && placeXattrs(attributes.xattrs, bodySpaceOf(inodeBytes));
  const xattrBlock = contents.xattrBlocks.next(tree.xattrSet(node));
  const time = { seconds: attributes.mtimeSeconds, nanos: attributes.mtimeNanos };
  encodeInode(
    {
      mode: attributes.mode,
      uid: attributes.uid,
      gid: attributes.gid,
      size: body.size,
      links: linksOf(contents, node),
      sectors: (body.blocks + (xattrBlock === 0 ? 0 : 1)) * SECTORS_PER_BLOCK,
      flags: body.flags,
      block: body.block,
      xattrBlock,
      atime: time,
      ctime: time,
      mtime: time,
      crtime: time,
      extraBytes: INODE_EXTRA_BYTES,
    },
    view,
    at,
  );
  const entries = [...(placement?.body ?? []), ...(body.inline ? [body.inline] : [])];
  if (entries.length === 0) return;
  const start = at + INODE_BASE_BYTES + INODE_EXTRA_BYTES;
  encodeXattrBody(entries, new Uint8Array(view.buffer, start, at + inodeBytes - start));
}

function linksOf({ tree, subdirectories }: Contents, node: NodeId): number {
  if (!tree.isDirectory(node)) return tree.links(node);
  const links = 2 + (subdirectories[node] as number);
  return links >= DIRECTORY_LINKS_MAX ? 1 : links;
}

/** Its bytes may be views of the spill: valid until the next read of it. */
function bodyOf(contents: Contents, node: NodeId, attributes: Attributes): Body {
  const type = attributes.mode & S_IFMT;
  const target = type === S_IFLNK ? (attributes.target ?? '') : '';
  if (type === S_IFLNK && target.length <= FAST_SYMLINK_BYTES_MAX) {
    return { flags: 0, size: target.length, blocks: 0, block: Buffer.from(target, 'latin1') };
  }
  if (type === S_IFCHR || type === S_IFBLK) {
    const block = encodeDevice(attributes.rdevMajor ?? 0, attributes.rdevMinor ?? 0);
    return { flags: 0, size: 0, blocks: 0, block };
  }
  if (type !== S_IFREG && type !== S_IFDIR && type !== S_IFLNK)
    return { flags: 0, size: 0, blocks: 0, block: NOTHING };
  const content = contents.data.inline(node);
  if (content) {
    const block = content.subarray(0, INODE_BLOCK_BYTES);
    // The kernel wants the entry even if nothing is left for it.
    const inline = inlineDataEntry(content.subarray(INODE_BLOCK_BYTES));
    return { flags: INODE_INLINE_DATA, size: content.length, blocks: 0, block, inline };
  }
  const { root, dataBlocks, treeBlocks } =
    contents.extentTrees.get(node) ?? writeExtentTree(contents.data, node);
  return {
    flags: INODE_EXTENTS | (contents.indexed.has(node) ? INODE_INDEX : 0),
    size: contents.data.size(node),
    blocks: dataBlocks + treeBlocks,
    block: root,
  };
}
