/** The ext4 superblock: 1024 bytes at offset 1024 of the image, little-endian (docs/protocol/ext4.md). */
import { SquibError } from '../../base/errors.ts';

export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_BYTES = 1024;
export const SUPERBLOCK_MAGIC = 0xef53;

/** Feature bits a kernel may ignore. */
export const COMPAT = { hasJournal: 0x4, extAttr: 0x8, dirIndex: 0x20, sparseSuper2: 0x200 } as const;
/** Feature bits a kernel must know to mount. */
export const INCOMPAT = {
  filetype: 0x2,
  recover: 0x4,
  extents: 0x40,
  bit64: 0x80,
  flexBg: 0x200,
  inlineData: 0x8000,
} as const;
/** Feature bits a kernel must know to mount for writing. */
export const RO_COMPAT = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  hugeFile: 0x8,
  gdtCsum: 0x10,
  dirNlink: 0x20,
  extraIsize: 0x40,
  metadataCsum: 0x400,
  readonly: 0x1000,
} as const;

/** s_state: unmounted in order. */
export const STATE_CLEAN = 1;
/** s_def_hash_version: half-MD4. */
export const HASH_HALF_MD4 = 1;
/** s_flags: directory hashes take names as unsigned bytes. */
export const FLAG_UNSIGNED_HASH = 2;

export interface Superblock {
  inodesCount: number;
  blocksCount: number;
  freeBlocks: number;
  freeInodes: number;
  firstDataBlock: number;
  /** Block size is 1024 << this. */
  logBlockSize: number;
  blocksPerGroup: number;
  inodesPerGroup: number;
  magic: number;
  state: number;
  revision: number;
  firstInode: number;
  inodeBytes: number;
  compat: number;
  incompat: number;
  roCompat: number;
  /** 16 bytes. */
  uuid: Uint8Array;
  /** Seed of the directory hash: four 32-bit words as 16 bytes. */
  hashSeed: Uint8Array;
  hashVersion: number;
  /** With the 64bit feature; otherwise descriptors have 32 bytes. */
  descriptorBytes: number;
  flags: number;
  logGroupsPerFlex: number;
  reservedGdtBlocks: number;
  journalInode: number;
  lastOrphan: number;
  firstMetaBg: number;
}

export function encodeSuperblock(sb: Superblock): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  const u32 = (at: number, value: number) => view.setUint32(at, value, true);
  const u16 = (at: number, value: number) => view.setUint16(at, value, true);
  u32(0x00, sb.inodesCount);
  u32(0x04, sb.blocksCount);
  u32(0x0c, sb.freeBlocks);
  u32(0x10, sb.freeInodes);
  u32(0x14, sb.firstDataBlock);
  u32(0x18, sb.logBlockSize);
  u32(0x1c, sb.logBlockSize);
  u32(0x20, sb.blocksPerGroup);
  u32(0x24, sb.blocksPerGroup);
  u32(0x28, sb.inodesPerGroup);
  // Never checked because of a count of mounts; on errors the kernel continues.
  u16(0x36, 0xffff);
  u16(0x38, sb.magic);
  u16(0x3a, sb.state);
  u16(0x3c, 1);
  u32(0x4c, sb.revision);
  u32(0x54, sb.firstInode);
  u16(0x58, sb.inodeBytes);
  u32(0x5c, sb.compat);
  u32(0x60, sb.incompat);
  u32(0x64, sb.roCompat);
  bytes.set(sb.uuid, 0x68);
  u16(0xce, sb.reservedGdtBlocks);
  u32(0xe0, sb.journalInode);
  u32(0xe8, sb.lastOrphan);
  bytes.set(sb.hashSeed, 0xec);
  bytes[0xfc] = sb.hashVersion;
  u16(0xfe, sb.descriptorBytes === 32 ? 0 : sb.descriptorBytes);
  u32(0x104, sb.firstMetaBg);
  u32(0x150, Math.floor(sb.blocksCount / 2 ** 32));
  u32(0x158, Math.floor(sb.freeBlocks / 2 ** 32));
  // Every inode has room for nanoseconds and the second half of its times.
  u16(0x15c, 32);
  u16(0x15e, 32);
  u32(0x160, sb.flags);
  bytes[0x174] = sb.logGroupsPerFlex;
  return bytes;
}

/**
 * Takes the fields apart and checks nothing but the length.
 * @throws SquibError `data-loss` if there are fewer than 1024 bytes.
 */
export function decodeSuperblock(bytes: Uint8Array): Superblock {
  if (bytes.length < SUPERBLOCK_BYTES)
    throw new SquibError('data-loss', `a superblock has ${SUPERBLOCK_BYTES} bytes, not ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const u32 = (at: number) => view.getUint32(at, true);
  const u16 = (at: number) => view.getUint16(at, true);
  const incompat = u32(0x60);
  const is64 = (incompat & INCOMPAT.bit64) !== 0;
  return {
    inodesCount: u32(0x00),
    blocksCount: u32(0x04) + (is64 ? u32(0x150) * 2 ** 32 : 0),
    freeBlocks: u32(0x0c) + (is64 ? u32(0x158) * 2 ** 32 : 0),
    freeInodes: u32(0x10),
    firstDataBlock: u32(0x14),
    logBlockSize: u32(0x18),
    blocksPerGroup: u32(0x20),
    inodesPerGroup: u32(0x28),
    magic: u16(0x38),
    state: u16(0x3a),
    revision: u32(0x4c),
    firstInode: u32(0x54),
    inodeBytes: u16(0x58),
    compat: u32(0x5c),
    incompat,
    roCompat: u32(0x64),
    uuid: bytes.slice(0x68, 0x78),
    hashSeed: bytes.slice(0xec, 0xfc),
    hashVersion: bytes[0xfc] as number,
    descriptorBytes: is64 ? u16(0xfe) : 32,
    flags: u32(0x160),
    logGroupsPerFlex: bytes[0x174] as number,
    reservedGdtBlocks: u16(0xce),
    journalInode: u32(0xe0),
    lastOrphan: u32(0xe8),
    firstMetaBg: u32(0x104),
  };
}
