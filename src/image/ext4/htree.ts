/** The hash index of a directory: its hash function, and its root and inner blocks (docs/protocol/ext4.md). */
import { DIRENT_HEADER_BYTES, encodeDirent } from './dirent.ts';
import { HASH_HALF_MD4 } from './superblock.ts';

const BLOCK_BYTES = 4096;
/** Entries that fit behind "." and ".." and the index's own description. */
export const HTREE_ROOT_ENTRIES_MAX = (BLOCK_BYTES - 32) / 8;
/** Entries of a block between root and leaves. */
export const HTREE_NODE_ENTRIES_MAX = (BLOCK_BYTES - 8) / 8;

/** One step down: names with this hash and above are in the directory's block `block`. */
export interface HtreeEntry {
  /** The lowest bit says that the hash before has names in this block too. */
  readonly hash: number;
  readonly block: number;
}

/** The first block of an indexed directory. `levels`: how many layers of inner blocks follow. */
export function encodeHtreeRoot(
  self: number,
  parent: number,
  levels: number,
  entries: readonly HtreeEntry[],
): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES);
  encodeDirent({ inode: self, length: 12, type: 2, name: new Uint8Array([0x2e]) }, bytes, 0);
  const dotDot = new Uint8Array([0x2e, 0x2e]);
  encodeDirent({ inode: parent, length: BLOCK_BYTES - 12, type: 2, name: dotDot }, bytes, 12);
  bytes[28] = HASH_HALF_MD4;
  bytes[29] = 8;
  bytes[30] = levels;
  encodeEntries(bytes, 32, HTREE_ROOT_ENTRIES_MAX, entries);
  return bytes;
}

/** A block between root and leaves: to those who know no index, one free entry. */
export function encodeHtreeNode(entries: readonly HtreeEntry[]): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES);
  encodeDirent({ inode: 0, length: BLOCK_BYTES, type: 0, name: new Uint8Array(0) }, bytes, 0);
  encodeEntries(bytes, DIRENT_HEADER_BYTES, HTREE_NODE_ENTRIES_MAX, entries);
  return bytes;
}

/** The first entry has no hash: limit and count stand in its place. */
function encodeEntries(bytes: Uint8Array, at: number, limit: number, entries: readonly HtreeEntry[]): void {
  const view = new DataView(bytes.buffer);
  entries.forEach((entry, i) => {
    view.setUint32(at + i * 8, entry.hash, true);
    view.setUint32(at + i * 8 + 4, entry.block, true);
  });
  view.setUint16(at, limit, true);
  view.setUint16(at + 2, entries.length, true);
}

/** The hash of a name as unsigned bytes; even, and never the mark of the end. */
export type NameHash = (name: Uint8Array) => number;

const K2 = 0x5a82_7999;
const K3 = 0x6ed9_eba1;

/**
 * Half-MD4 with the file system's seed.
 * @param seed the superblock's 16 bytes; all zeroes stand for MD4's own start.
 */
export function halfMd4(seed: Uint8Array): NameHash {
  const view = new DataView(seed.buffer, seed.byteOffset, 16);
  let start = [0, 4, 8, 12].map((at) => view.getUint32(at, true));
  if (start.every((word) => word === 0)) start = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
  const state = new Uint32Array(4);
  const input = new Uint32Array(8);
  return (name) => {
    state.set(start);
    for (let at = 0; at < name.length; at += 32) {
      fillInput(name, at, input);
      transform(state, input);
    }
    const hash = ((state[1] as number) & ~1) >>> 0;
    return hash === 0xffff_fffe ? 0xffff_fffc : hash;
  };
}

/** 32 bytes of the name, most significant first, filled up with its length. */
function fillInput(name: Uint8Array, at: number, input: Uint32Array): void {
  const left = name.length - at;
  const pad = Math.imul(left & 0xff, 0x0101_0101) >>> 0;
  const length = Math.min(left, 32);
  input.fill(pad);
  let value = pad;
  for (let i = 0; i < length; i++) {
    value = (name[at + i] as number) + (value << 8);
    if (i % 4 === 3) {
      input[i >> 2] = value;
      value = pad;
    }
  }
  if (length % 4 !== 0) input[length >> 2] = value;
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}

function transform(state: Uint32Array, input: Uint32Array): void {
  let [a, b, c, d] = state as unknown as [number, number, number, number];
  const step = (mixed: number, word: number, k: number, by: number) => {
    const next = rotate((a + mixed + (input[word] as number) + k) | 0, by);
    a = d;
    d = c;
    c = b;
    b = next;
  };
  const shifts1 = [3, 7, 11, 19];
  const shifts2 = [3, 5, 9, 13];
  const shifts3 = [3, 9, 11, 15];
  for (let i = 0; i < 8; i++) step(d ^ (b & (c ^ d)), i, 0, shifts1[i % 4] as number);
  const order2 = [1, 3, 5, 7, 0, 2, 4, 6];
  for (let i = 0; i < 8; i++)
    step(((b & c) + ((b ^ c) & d)) | 0, order2[i] as number, K2, shifts2[i % 4] as number);
  const order3 = [3, 7, 2, 6, 1, 5, 0, 4];
  for (let i = 0; i < 8; i++) step(b ^ c ^ d, order3[i] as number, K3, shifts3[i % 4] as number);
  state[0] = (state[0] as number) + a;
  state[1] = (state[1] as number) + b;
  state[2] = (state[2] as number) + c;
  state[3] = (state[3] as number) + d;
}
