/** A block group's descriptor, of 32 bytes, or 64 with the 64bit feature (docs/protocol/ext4.md). */
import { crc16 } from './crc16.ts';

export const GROUP_BYTES = 32;
/** Blocks of a group: as many as one bitmap block has bits. */
export const BLOCKS_PER_GROUP = 32768;

/** bg_flags: the bitmap reads as if nothing but the group's own metadata were in use. */
export const GROUP_INODE_UNINIT = 1;
export const GROUP_BLOCK_UNINIT = 2;
/** bg_flags: the inode table is zeroes already, lazy initialisation has nothing to do. */
export const GROUP_ITABLE_ZEROED = 4;

export interface Group {
  blockBitmap: number;
  inodeBitmap: number;
  inodeTable: number;
  freeBlocks: number;
  freeInodes: number;
  directories: number;
  flags: number;
  /** Inodes at the table's end that were never used. */
  unusedInodes: number;
}

/** @returns the 32 bytes, with a checksum of 0: `groupChecksum` if the image has them. */
export function encodeGroup(group: Group): Uint8Array {
  const bytes = new Uint8Array(GROUP_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0x00, group.blockBitmap, true);
  view.setUint32(0x04, group.inodeBitmap, true);
  view.setUint32(0x08, group.inodeTable, true);
  view.setUint16(0x0c, group.freeBlocks, true);
  view.setUint16(0x0e, group.freeInodes, true);
  view.setUint16(0x10, group.directories, true);
  view.setUint16(0x12, group.flags, true);
  view.setUint16(0x1c, group.unusedInodes, true);
  return bytes;
}

/** Where a descriptor keeps its checksum. */
export const GROUP_CHECKSUM_OFFSET = 0x1e;

/** The checksum of the feature gdt_csum: over uuid, number and the 30 bytes before it. */
export function groupChecksum(uuid: Uint8Array, index: number, descriptor: Uint8Array): number {
  const number = new Uint8Array(4);
  new DataView(number.buffer).setUint32(0, index, true);
  return crc16(crc16(crc16(0xffff, uuid), number), descriptor.subarray(0, GROUP_CHECKSUM_OFFSET));
}

/** @param bytes at least 32, or 64 of which then the upper halves are used. */
export function decodeGroup(bytes: Uint8Array): Group {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const wide = bytes.length >= 64;
  const u32 = (low: number, high: number) =>
    view.getUint32(low, true) + (wide ? view.getUint32(high, true) * 2 ** 32 : 0);
  const u16 = (low: number, high: number) =>
    view.getUint16(low, true) + (wide ? view.getUint16(high, true) * 2 ** 16 : 0);
  return {
    blockBitmap: u32(0x00, 0x20),
    inodeBitmap: u32(0x04, 0x24),
    inodeTable: u32(0x08, 0x28),
    freeBlocks: u16(0x0c, 0x2c),
    freeInodes: u16(0x0e, 0x2e),
    directories: u16(0x10, 0x30),
    flags: view.getUint16(0x12, true),
    unusedInodes: u16(0x1c, 0x32),
  };
}
