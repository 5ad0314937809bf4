/** An inode: 128 bytes, then extra fields and room for extended attributes (docs/protocol/ext4.md). */
import { SquibError } from '../../base/errors.ts';

/** Bytes of the classic inode; what follows begins with the length of the extra fields. */
export const INODE_BASE_BYTES = 128;
/** Extra fields of ours: up to and with the project id. */
export const INODE_EXTRA_BYTES = 32;
/** i_block: extents, the target of a short symlink, a device number or inline data. */
export const INODE_BLOCK_OFFSET = 0x28;
export const INODE_BLOCK_BYTES = 60;

export const ROOT_INODE = 2;
/** Below are reserved ones. */
export const FIRST_INODE = 11;

/** i_flags. */
export const INODE_INDEX = 0x1000;
export const INODE_EXTENTS = 0x8_0000;
export const INODE_INLINE_DATA = 0x1000_0000;

export interface Time {
  /** -2^31 .. 2^34 - 2^31 - 1. */
  readonly seconds: number;
  readonly nanos: number;
}

export interface Inode {
  /** S_IFMT bits and permissions. */
  mode: number;
  uid: number;
  gid: number;
  size: number;
  links: number;
  /** Of 512 bytes each, as i_blocks counts without the huge-file flag. */
  sectors: number;
  flags: number;
  /** 60 bytes; fewer when encoding: zeroes follow. */
  block: Uint8Array;
  /** Block of extended attributes, 0: none. */
  xattrBlock: number;
  atime: Time;
  ctime: Time;
  mtime: Time;
  crtime: Time;
  /** 0: there are no extra fields, the times end in 2038 and have no nanoseconds. */
  extraBytes: number;
}

/** Writes the base and the extra fields at `at`; the bytes there must be zeroes. */
export function encodeInode(inode: Inode, view: DataView, at: number): void {
  view.setUint16(at, inode.mode, true);
  view.setUint16(at + 0x02, inode.uid & 0xffff, true);
  view.setUint32(at + 0x04, inode.size % 2 ** 32, true);
  view.setUint16(at + 0x18, inode.gid & 0xffff, true);
  view.setUint16(at + 0x1a, inode.links, true);
  view.setUint32(at + 0x1c, inode.sectors % 2 ** 32, true);
  view.setUint32(at + 0x20, inode.flags, true);
  const block = new Uint8Array(view.buffer, view.byteOffset + at + INODE_BLOCK_OFFSET, INODE_BLOCK_BYTES);
  block.set(inode.block);
  view.setUint32(at + 0x68, inode.xattrBlock % 2 ** 32, true);
  view.setUint32(at + 0x6c, Math.floor(inode.size / 2 ** 32), true);
  view.setUint16(at + 0x74, Math.floor(inode.sectors / 2 ** 32), true);
  view.setUint16(at + 0x76, Math.floor(inode.xattrBlock / 2 ** 32), true);
  view.setUint16(at + 0x78, inode.uid >>> 16, true);
  view.setUint16(at + 0x7a, inode.gid >>> 16, true);
  view.setUint16(at + 0x80, inode.extraBytes, true);
  encodeTime(inode.atime, view, at + 0x08, at + 0x8c);
  encodeTime(inode.ctime, view, at + 0x0c, at + 0x84);
  encodeTime(inode.mtime, view, at + 0x10, at + 0x88);
  encodeTime(inode.crtime, view, at + 0x90, at + 0x94);
}

/**
 * Takes the fields apart and checks nothing but the length.
 * @param bytes the whole inode, as long as the superblock says.
 * @throws SquibError `data-loss` for fewer than 128 bytes.
 */
export function decodeInode(bytes: Uint8Array): Inode {
  if (bytes.length < INODE_BASE_BYTES)
    throw new SquibError('data-loss', `an inode has at least ${INODE_BASE_BYTES} bytes, not ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const u32 = (at: number) => view.getUint32(at, true);
  const u16 = (at: number) => view.getUint16(at, true);
  const extraBytes = bytes.length >= INODE_BASE_BYTES + 4 ? u16(0x80) : 0;
  const extraEnd = Math.min(INODE_BASE_BYTES + extraBytes, bytes.length);
  const time = (low: number, extra: number) => decodeTime(u32(low), extra + 4 <= extraEnd ? u32(extra) : 0);
  return {
    mode: u16(0x00),
    uid: u16(0x02) + u16(0x78) * 0x1_0000,
    gid: u16(0x18) + u16(0x7a) * 0x1_0000,
    size: u32(0x04) + u32(0x6c) * 2 ** 32,
    links: u16(0x1a),
    sectors: u32(0x1c) + u16(0x74) * 2 ** 32,
    flags: u32(0x20),
    block: bytes.slice(INODE_BLOCK_OFFSET, INODE_BLOCK_OFFSET + INODE_BLOCK_BYTES),
    xattrBlock: u32(0x68) + u16(0x76) * 2 ** 32,
    atime: time(0x08, 0x8c),
    ctime: time(0x0c, 0x84),
    mtime: time(0x10, 0x88),
    crtime: 0x98 <= extraEnd ? time(0x90, 0x94) : { seconds: 0, nanos: 0 },
    extraBytes,
  };
}

/** The extra word: nanoseconds above two bits that count 2^32 seconds beyond the signed low word. */
function encodeTime(time: Time, view: DataView, low: number, extra: number): void {
  const epoch = Math.floor((time.seconds + 2 ** 31) / 2 ** 32);
  view.setInt32(low, time.seconds | 0, true);
  view.setUint32(extra, time.nanos * 4 + epoch, true);
}

function decodeTime(low: number, extra: number): Time {
  return { seconds: (low | 0) + (extra & 3) * 2 ** 32, nanos: extra >>> 2 };
}

/** A device number as i_block has it: in its first word if both parts are below 256, else the second. */
export function encodeDevice(major: number, minor: number): Uint8Array {
  const block = new Uint8Array(INODE_BLOCK_BYTES);
  const view = new DataView(block.buffer);
  if (major < 256 && minor < 256) view.setUint32(0, (major << 8) | minor, true);
  else view.setUint32(4, ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0, true);
  return block;
}

export function decodeDevice(block: Uint8Array): { major: number; minor: number } {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  const old = view.getUint32(0, true);
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
  const wide = view.getUint32(4, true);
  return { major: (wide >>> 8) & 0xfff, minor: (wide & 0xff) | ((wide >>> 12) & 0xf_ff00) };
}
