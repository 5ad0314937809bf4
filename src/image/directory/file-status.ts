import { S_IFCHR, S_IFDIR, S_IFMT } from '../tree.ts';

/** Bytes of struct statx (linux/stat.h). */
export const FILE_STATUS_BYTES = 256;

/** What statx(2) tells of a file, as far as an image keeps it. */
export interface FileStatus {
  /** S_IFMT | permissions. */
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  /** Device and inode number in one: equal for two names of one file. */
  readonly identity: string;
  readonly size: number;
  /** Bytes that it takes on its disk; fewer than `size` where it has holes. */
  readonly allocated: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanos: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
}

/** Reads struct statx: little-endian, as on every host that squib supports. */
export function decodeFileStatus(bytes: DataView): FileStatus {
  const u32 = (at: number) => bytes.getUint32(at, true);
  const u64 = (at: number) => u32(at) + u32(at + 4) * 2 ** 32;
  return {
    links: u32(16),
    uid: u32(20),
    gid: u32(24),
    mode: bytes.getUint16(28, true),
    identity: `${u32(136)}:${u32(140)}:${u32(36)}:${u32(32)}`,
    size: u64(40),
    allocated: u64(48) * 512,
    mtimeSeconds: u32(112) + bytes.getInt32(116, true) * 2 ** 32,
    mtimeNanos: u32(120),
    rdevMajor: u32(128),
    rdevMinor: u32(132),
  };
}

export function isDirectory(status: { readonly mode: number }): boolean {
  return (status.mode & S_IFMT) === S_IFDIR;
}

/** The overlay file system's mark of a deleted name: a character device 0:0. */
export function isWhiteout(status: FileStatus): boolean {
  return (status.mode & S_IFMT) === S_IFCHR && status.rdevMajor === 0 && status.rdevMinor === 0;
}
