import { type CLibrary, loadCLibrary, type Native } from '../c-library.ts';

/** What a system call said when it failed: the C name where it is one that callers tell apart. */
export type Errno =
  | 'ENOENT'
  | 'EACCES'
  | 'EPERM'
  | 'EROFS'
  | 'ENOSPC'
  | 'EAGAIN'
  | 'ENOTSUP'
  | 'ENODATA'
  | `errno ${number}`;

/** x86-64 and arm64 Linux agree on these. */
const ERRNO_NAMES: Readonly<Record<number, Errno>> = {
  1: 'EPERM',
  2: 'ENOENT',
  11: 'EAGAIN',
  13: 'EACCES',
  28: 'ENOSPC',
  30: 'EROFS',
  61: 'ENODATA',
  95: 'ENOTSUP',
};

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_BASIC_STATS = 0x7ff;
const LOCK_EX = 2;
const F_SETLEASE = 1024;
const F_SETSIG = 10;
const F_WRLCK = 1;
const SIGURG = 23;
const GETDENTS64 = { x64: 217, arm64: 61 } as const;
const INTERRUPTED = 4;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** ENXIO. */
const BEYOND_DATA = 6;

/**
 * The calls of the C library that Node does not offer. Paths are raw bytes that end in a zero.
 * Every call blocks: for a conversion process, never for a shim's loop.
 */
export class Libc {
  readonly #errno: () => number;
  readonly #statx: Native;
  readonly #llistxattr: Native;
  readonly #lgetxattr: Native;
  readonly #syscall: Native;
  readonly #lseek: Native;
  readonly #flock: Native;
  readonly #fcntl: Native;
  readonly #copyFileRange: Native;
  readonly #getdents64: number;

  /** @throws SquibError `failed-precondition` where koffi has no binary for this host. */
  static async load(): Promise<Libc> {
    return new Libc(await loadCLibrary());
  }

  private constructor(library: CLibrary) {
    this.#errno = library.errno;
    this.#statx = library.func('int statx(int, void *, int, uint32_t, void *)');
    this.#llistxattr = library.func('int64_t llistxattr(void *, void *, size_t)');
    this.#lgetxattr = library.func('int64_t lgetxattr(void *, void *, void *, size_t)');
    this.#syscall = library.func('int64_t syscall(int64_t, int64_t, void *, uint64_t)');
    this.#lseek = library.func('int64_t lseek(int, int64_t, int)');
    this.#flock = library.func('int flock(int, int)');
    this.#fcntl = library.func('int fcntl(int, int, int64_t)');
    this.#copyFileRange = library.func('int64_t copy_file_range(int, void *, int, void *, size_t, uint32_t)');
    this.#getdents64 = GETDENTS64[process.arch as keyof typeof GETDENTS64] ?? GETDENTS64.x64;
  }

  /** Fills `status` with struct statx of what lies at the path itself; a symbolic link is not followed. */
  statx(path: Uint8Array, status: Uint8Array): Errno | undefined {
    return this.#failed(this.#statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, status));
  }

  /** Bytes of extended attribute names written to `names`, each with a zero at its end. */
  listXattrs(path: Uint8Array, names: Uint8Array): number | Errno {
    return this.#count(this.#llistxattr(path, names, names.length));
  }

  /** Bytes of the attribute's value written to `value`. */
  getXattr(path: Uint8Array, name: Uint8Array, value: Uint8Array): number | Errno {
    return this.#count(this.#lgetxattr(path, name, value, value.length));
  }

  /** Bytes of struct linux_dirent64 written to `records`; 0 at the directory's end. */
  readDirectory(fd: number, records: Uint8Array): number | Errno {
    return this.#count(this.#syscall(this.#getdents64, fd, records, records.length));
  }

  /** Waits until this open file alone holds the lock on what `fd` names. It ends with the last copy of `fd`. */
  lock(fd: number): Errno | undefined {
    for (;;) {
      const result = this.#flock(fd, LOCK_EX);
      if (result === 0 || this.#errno() !== INTERRUPTED) return this.#failed(result);
    }
  }

  /**
   * A write lease, which the kernel grants only while no other open file on the host names the
   * same inode: `EAGAIN` says that somebody uses it. Ends when `fd` is closed.
   */
  lease(fd: number): Errno | undefined {
    // SIGIO, which tells of somebody who opens the file now, would end the process; SIGURG is ignored.
    return (
      this.#failed(this.#fcntl(fd, F_SETSIG, SIGURG)) ?? this.#failed(this.#fcntl(fd, F_SETLEASE, F_WRLCK))
    );
  }

  /** Where data begins at or after `offset`; undefined: only a hole follows. */
  seekData(fd: number, offset: number): number | undefined {
    const found = this.#lseek(fd, offset, SEEK_DATA);
    if (found >= 0) return found;
    // A file system that does not know its holes has data everywhere.
    return this.#errno() === BEYOND_DATA ? undefined : offset;
  }

  /** Where the next hole begins at or after `offset`; a file's end counts as one. Undefined: not known. */
  seekHole(fd: number, offset: number): number | undefined {
    const found = this.#lseek(fd, offset, SEEK_HOLE);
    return found >= 0 ? found : undefined;
  }

  /**
   * Copies inside the kernel, sharing blocks where the file system can. `offsets` are two
   * little-endian uint64, source and target, which the kernel moves on.
   * @returns bytes copied, 0 at the source's end.
   */
  copyFileRange(source: number, target: number, offsets: CopyOffsets, bytes: number): number | Errno {
    return this.#count(this.#copyFileRange(source, offsets.source, target, offsets.target, bytes, 0));
  }

  #count(result: number): number | Errno {
    return result >= 0 ? result : this.#errnoName();
  }

  #failed(result: number): Errno | undefined {
    return result >= 0 ? undefined : this.#errnoName();
  }

  #errnoName(): Errno {
    const errno = this.#errno();
    return ERRNO_NAMES[errno] ?? `errno ${errno}`;
  }
}

interface CopyOffsets {
  readonly source: Uint8Array;
  readonly target: Uint8Array;
}
