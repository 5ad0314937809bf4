import { closeSync, constants, openSync, readlinkSync } from 'node:fs';
import { SquibError } from '../../base/errors.ts';
import { decodeFileStatus, FILE_STATUS_BYTES, type FileStatus } from './file-status.ts';
import { HostPath } from './host-path.ts';
import type { Errno, Libc } from './libc.ts';

/** struct linux_dirent64: inode u64, offset u64, length u16, type u8, then the name with a zero. */
const DIRENT_LENGTH_AT = 16;
const DIRENT_TYPE_AT = 18;
const DIRENT_NAME_AT = 19;
/** A quarter of a thousand names or more per system call. */
const DIRENT_BUFFER_BYTES = 64 * 1024;
/** XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux. */
const XATTR_BYTES_MAX = 64 * 1024;

/** d_type of a directory entry. */
export const DT_DIR = 4;
const DT_UNKNOWN = 0;
const DT_OF_MODE_SHIFT = 12;

export interface DirectoryEntry {
  /** One character per byte. */
  readonly name: string;
  /** DT_…, never unknown. */
  readonly type: number;
}

/** Reads directory trees of the host. Paths are absolute, one character per byte (latin1). */
export class LayerReader {
  readonly #libc: Libc;
  readonly #path = new HostPath();
  readonly #status = new Uint8Array(FILE_STATUS_BYTES);
  readonly #statusView = new DataView(this.#status.buffer);
  readonly #dirents = Buffer.alloc(DIRENT_BUFFER_BYTES);
  readonly #names = Buffer.alloc(XATTR_BYTES_MAX);
  readonly #value = Buffer.alloc(XATTR_BYTES_MAX);

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** @throws SquibError `aborted` when nothing is there any more. */
  status(path: string): FileStatus {
    const errno = this.#libc.statx(this.#path.set(path).terminated, this.#status);
    if (errno) throw readError(path, errno);
    return decodeFileStatus(this.#statusView);
  }

  /** The names in a directory without `.` and `..`, in the order of the host's file system. */
  entries(path: string): DirectoryEntry[] {
    const entries: DirectoryEntry[] = [];
    const fd = this.open(path, constants.O_DIRECTORY);
    try {
      for (;;) {
        const length = this.#libc.readDirectory(fd, this.#dirents);
        if (typeof length !== 'number') throw readError(path, length);
        if (length === 0) break;
        this.#decodeEntries(length, entries);
      }
    } finally {
      closeSync(fd);
    }
    return entries.map((entry) =>
      entry.type === DT_UNKNOWN
        ? { name: entry.name, type: this.status(`${path}/${entry.name}`).mode >> DT_OF_MODE_SHIFT }
        : entry,
    );
  }

  #decodeEntries(length: number, into: DirectoryEntry[]): void {
    const records = this.#dirents;
    for (let at = 0; at < length; at += records.readUInt16LE(at + DIRENT_LENGTH_AT)) {
      const start = at + DIRENT_NAME_AT;
      const name = records.toString('latin1', start, records.indexOf(0, start));
      if (name !== '.' && name !== '..') into.push({ name, type: records[at + DIRENT_TYPE_AT] as number });
    }
  }

  /** Full names, one character per byte; none where the file system has no extended attributes. */
  xattrNames(path: string): string[] {
    const length = this.#libc.listXattrs(this.#path.set(path).terminated, this.#names);
    if (length === 0 || length === 'ENOTSUP') return [];
    if (typeof length !== 'number') throw readError(path, length);
    return this.#names.toString('latin1', 0, length - 1).split('\0');
  }

  /** A copy of the value; undefined when there is no such attribute. */
  xattr(path: string, name: string): Uint8Array | undefined {
    const length = this.#libc.getXattr(
      this.#path.set(path).terminated,
      Buffer.from(`${name}\0`, 'latin1'),
      this.#value,
    );
    if (length === 'ENODATA' || length === 'ENOTSUP') return undefined;
    if (typeof length !== 'number') throw readError(path, length);
    return Uint8Array.prototype.slice.call(this.#value, 0, length);
  }

  target(path: string): string {
    try {
      return readlinkSync(this.#path.set(path).bytes, 'latin1');
    } catch (cause) {
      throw nodeReadError(path, cause);
    }
  }

  /** Opens for reading, never through a symbolic link and never waiting for a FIFO's writer. */
  open(path: string, flags = 0): number {
    try {
      return openSync(
        this.#path.set(path).bytes,
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | flags,
      );
    } catch (cause) {
      throw nodeReadError(path, cause);
    }
  }
}

function readError(path: string, errno: Errno): SquibError {
  const shown = textOf(path);
  return errno === 'ENOENT'
    ? new SquibError('aborted', `${shown} disappeared while it was read: its snapshot was removed or changed`)
    : new SquibError('internal', `${shown} cannot be read (${errno})`);
}

/** The same from an error of Node's, whose code is the C name. */
function nodeReadError(path: string, cause: unknown): SquibError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return readError(path, code);
  return new SquibError('internal', `${textOf(path)} cannot be read`, { cause });
}

/** For messages: bytes that are no UTF-8 show as replacement characters. */
export function textOf(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8');
}
