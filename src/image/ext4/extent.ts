/** Nodes of an extent tree: a header of 12 bytes and entries of 12 (docs/protocol/ext4.md). */
import { SquibError } from '../../base/errors.ts';

export const EXTENT_MAGIC = 0xf30a;
export const EXTENT_HEADER_BYTES = 12;
export const EXTENT_ENTRY_BYTES = 12;
/** Blocks of one written extent; lengths above stand for unwritten ones, less this. */
export const EXTENT_BLOCKS_MAX = 32768;
/** The kernel's own limit. */
export const EXTENT_DEPTH_MAX = 5;

/** What a leaf holds. */
export interface Extent {
  readonly logical: number;
  readonly physical: number;
  readonly blocks: number;
  /** Allocated, but reads as zeroes. */
  readonly unwritten?: boolean;
}

/** What an inner node holds: everything from `logical` on is below the node in block `physical`. */
export interface ExtentIndex {
  readonly logical: number;
  readonly physical: number;
}

export interface ExtentNode {
  /** 0: the entries are extents. */
  depth: number;
  entries: number;
  /** Entries for which there is room. */
  max: number;
}

/** Entries that a node of so many bytes has room for. */
export function extentCapacity(bytes: number): number {
  return Math.floor((bytes - EXTENT_HEADER_BYTES) / EXTENT_ENTRY_BYTES);
}

export function encodeExtentHeader(node: ExtentNode, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  view.setUint16(0, EXTENT_MAGIC, true);
  view.setUint16(2, node.entries, true);
  view.setUint16(4, node.max, true);
  view.setUint16(6, node.depth, true);
}

export function encodeExtent(extent: Extent, bytes: Uint8Array, entry: number): void {
  const view = viewOf(bytes);
  const at = EXTENT_HEADER_BYTES + entry * EXTENT_ENTRY_BYTES;
  view.setUint32(at, extent.logical, true);
  view.setUint16(at + 4, extent.blocks + (extent.unwritten ? EXTENT_BLOCKS_MAX : 0), true);
  view.setUint16(at + 6, Math.floor(extent.physical / 2 ** 32), true);
  view.setUint32(at + 8, extent.physical % 2 ** 32, true);
}

export function encodeExtentIndex(index: ExtentIndex, bytes: Uint8Array, entry: number): void {
  const view = viewOf(bytes);
  const at = EXTENT_HEADER_BYTES + entry * EXTENT_ENTRY_BYTES;
  view.setUint32(at, index.logical, true);
  view.setUint32(at + 4, index.physical % 2 ** 32, true);
  view.setUint16(at + 8, Math.floor(index.physical / 2 ** 32), true);
}

/** @throws SquibError `data-loss` for a wrong magic, or more entries than the bytes have room for. */
export function decodeExtentHeader(bytes: Uint8Array): ExtentNode {
  const view = viewOf(bytes);
  const magic = bytes.length >= EXTENT_HEADER_BYTES ? view.getUint16(0, true) : 0;
  if (magic !== EXTENT_MAGIC)
    throw new SquibError('data-loss', `extent node with magic 0x${magic.toString(16)}; expected 0xf30a`);
  const entries = view.getUint16(2, true);
  const max = view.getUint16(4, true);
  if (entries > max || max > extentCapacity(bytes.length))
    throw new SquibError(
      'data-loss',
      `extent node of ${entries} entries with room for ${max} in ${bytes.length} bytes`,
    );
  return { depth: view.getUint16(6, true), entries, max };
}

export function decodeExtent(bytes: Uint8Array, entry: number): Extent {
  const view = viewOf(bytes);
  const at = EXTENT_HEADER_BYTES + entry * EXTENT_ENTRY_BYTES;
  const length = view.getUint16(at + 4, true);
  const unwritten = length > EXTENT_BLOCKS_MAX;
  return {
    logical: view.getUint32(at, true),
    physical: view.getUint32(at + 8, true) + view.getUint16(at + 6, true) * 2 ** 32,
    blocks: unwritten ? length - EXTENT_BLOCKS_MAX : length,
    unwritten,
  };
}

export function decodeExtentIndex(bytes: Uint8Array, entry: number): ExtentIndex {
  const view = viewOf(bytes);
  const at = EXTENT_HEADER_BYTES + entry * EXTENT_ENTRY_BYTES;
  return {
    logical: view.getUint32(at, true),
    physical: view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * 2 ** 32,
  };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
