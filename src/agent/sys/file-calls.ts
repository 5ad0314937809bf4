import { Caller } from './caller.ts';
import {
  AT_FDCWD,
  AT_NO_AUTOMOUNT,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_CREAT,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
  STATX_BASIC_STATS,
} from './constants.ts';
import { EINTR, EINVAL } from './errno.ts';
import { DIRENT64, OPEN_HOW, STATX } from './structs.ts';
import { SysError } from './sys-error.ts';

/** What `statx` tells of a file. */
export interface FileStat {
  /** Type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: number;
  readonly size: number;
  readonly nlink: number;
  /** The device that a device node stands for. */
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** The device that holds the file. */
  readonly devMajor: number;
  readonly devMinor: number;
}

/** One name of a directory; `type` is DT_* and may be DT_UNKNOWN. */
export interface DirEntry {
  readonly name: string;
  readonly type: number;
}

/** What one getdents64 call may fill. */
const DIRENT_BUFFER_BYTES = 32 << 10;
/** A symlink's target is at most PATH_MAX bytes long. */
const LINK_BYTES_MAX = 4096;
/** `readFile` is for /proc, /sys and cgroup files: the kernel makes these a page at a time, mostly one. */
const READ_FILE_BYTES_MAX = 256 << 10;
const READ_FILE_STEP_BYTES = 4096;

/** Calls on files, directories and descriptors. Paths are relative to the working directory unless absolute. */
export class FileCalls extends Caller {
  /** Bytes read, 0 at the end, or WOULD_BLOCK. */
  read(fd: number, p: number, n: number): number {
    this.check(p, n);
    return this.moved('read', this.raw(this.table.read, fd, p, n), fd);
  }
  /** Bytes written (maybe fewer than `n`), or WOULD_BLOCK. */
  write(fd: number, p: number, n: number): number {
    this.check(p, n);
    return this.moved('write', this.raw(this.table.write, fd, p, n), fd);
  }
  /** Scattering read over `count` iovecs at `iov` (see `iovecs`); as `read`. */
  readv(fd: number, iov: number, count: number): number {
    this.checkIovecs(iov, count);
    return this.moved('readv', this.raw(this.table.readv, fd, iov, count), fd);
  }
  /** Gathering write over `count` iovecs at `iov` (see `iovecs`); as `write`. */
  writev(fd: number, iov: number, count: number): number {
    this.checkIovecs(iov, count);
    return this.moved('writev', this.raw(this.table.writev, fd, iov, count), fd);
  }
  private checkIovecs(iov: number, count: number): void {
    this.check(iov, count * 16);
    for (let i = 0; i < count; i++) this.check(this.r64(iov + i * 16), this.r64(iov + i * 16 + 8));
  }
  /** Closes; an interrupted close has closed too, and is never repeated. */
  close(fd: number): void {
    const result = this.sys.sc(this.table.close, fd);
    if (result !== -EINTR) this.done('close', result, `fd ${fd}`);
  }
  /** Acts (e.g. CLOSE_RANGE_CLOEXEC; 0: closes) on all descriptors from `first` up. */
  closeFrom(first: number, flags: number): void {
    this.done('close_range', this.raw(this.table.close_range, first, 0xffff_ffff, flags));
  }
  /** O_CLOEXEC is always added: what a process inherits is placed with dup3. */
  openat(dirfd: number, path: string, flags: number, mode = 0): number {
    const p = this.cstr(path);
    return this.done('openat', this.raw(this.table.openat, dirfd, p, flags | O_CLOEXEC, mode), path);
  }
  open(path: string, flags: number, mode = 0): number {
    return this.openat(AT_FDCWD, path, flags, mode);
  }
  /** As `openat` with RESOLVE_* bounds on how the path may lead: RESOLVE_IN_ROOT keeps it inside `dirfd`. */
  openat2(dirfd: number, path: string, how: { flags: number; mode?: number; resolve: number }): number {
    const p = this.alloc(OPEN_HOW.bytes);
    this.w64(p + OPEN_HOW.flags, how.flags + (how.flags & O_CLOEXEC ? 0 : O_CLOEXEC));
    this.w64(p + OPEN_HOW.mode, how.mode ?? 0);
    this.w64(p + OPEN_HOW.resolve, how.resolve);
    const at = this.cstr(path);
    return this.done('openat2', this.raw(this.table.openat2, dirfd, at, p, OPEN_HOW.bytes), path);
  }
  mkdirat(dirfd: number, path: string, mode: number): void {
    this.done('mkdirat', this.raw(this.table.mkdirat, dirfd, this.cstr(path), mode), path);
  }
  /** @param mode S_IF* and permissions. */
  mknodat(dirfd: number, path: string, mode: number, major = 0, minor = 0): void {
    const dev = deviceNumber(major, minor);
    this.done('mknodat', this.raw(this.table.mknodat, dirfd, this.cstr(path), mode, dev), path);
  }
  symlinkat(target: string, dirfd: number, path: string): void {
    const to = this.cstr(target);
    this.done('symlinkat', this.raw(this.table.symlinkat, to, dirfd, this.cstr(path)), path);
  }
  /** @param flags AT_REMOVEDIR for a directory. */
  unlinkat(dirfd: number, path: string, flags = 0): void {
    this.done('unlinkat', this.raw(this.table.unlinkat, dirfd, this.cstr(path), flags), path);
  }
  /** Does not follow a symlink at the end of the path. */
  fchownat(dirfd: number, path: string, uid: number, gid: number, flags = AT_SYMLINK_NOFOLLOW): void {
    this.done('fchownat', this.raw(this.table.fchownat, dirfd, this.cstr(path), uid, gid, flags), path);
  }
  fchown(fd: number, uid: number, gid: number): void {
    this.done('fchown', this.raw(this.table.fchown, fd, uid, gid), `fd ${fd}`);
  }
  /** Follows symlinks, as the syscall does. */
  fchmodat(dirfd: number, path: string, mode: number): void {
    this.done('fchmodat', this.raw(this.table.fchmodat, dirfd, this.cstr(path), mode), path);
  }
  fchmod(fd: number, mode: number): void {
    this.done('fchmod', this.raw(this.table.fchmod, fd, mode), `fd ${fd}`);
  }
  /** @param flags AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH (path '': the descriptor itself). */
  stat(dirfd: number, path: string, flags = 0): FileStat {
    const p = this.alloc(STATX.bytes);
    const all = flags | AT_NO_AUTOMOUNT;
    const at = this.cstr(path);
    this.done(
      'statx',
      this.raw(this.table.statx, dirfd, at, all, STATX_BASIC_STATS, p),
      path || `fd ${dirfd}`,
    );
    return {
      mode: this.r16(p + STATX.mode),
      uid: this.r32(p + STATX.uid),
      gid: this.r32(p + STATX.gid),
      ino: this.r64(p + STATX.ino),
      size: this.r64(p + STATX.size),
      nlink: this.r32(p + STATX.nlink),
      rdevMajor: this.r32(p + STATX.rdevMajor),
      rdevMinor: this.r32(p + STATX.rdevMinor),
      devMajor: this.r32(p + STATX.devMajor),
      devMinor: this.r32(p + STATX.devMinor),
    };
  }
  /** f_type of the file system that holds the path, e.g. CGROUP2_SUPER_MAGIC. */
  statfsType(path: string): number {
    const p = this.alloc(STATFS_BYTES);
    this.done('statfs', this.raw(this.table.statfs, this.cstr(path), p), path);
    return this.r64(p);
  }
  /** The target of a symlink. */
  readlinkat(dirfd: number, path: string): string {
    const p = this.alloc(LINK_BYTES_MAX);
    const at = this.cstr(path);
    const n = this.done('readlinkat', this.raw(this.table.readlinkat, dirfd, at, p, LINK_BYTES_MAX), path);
    return this.text(p, n);
  }
  /** The names in an open directory, without `.` and `..`. */
  readDir(fd: number): DirEntry[] {
    const entries: DirEntry[] = [];
    const p = this.alloc(DIRENT_BUFFER_BYTES);
    for (;;) {
      const n = this.done(
        'getdents64',
        this.raw(this.table.getdents64, fd, p, DIRENT_BUFFER_BYTES),
        `fd ${fd}`,
      );
      if (n === 0) return entries;
      for (let at = p; at < p + n; at += this.r16(at + DIRENT64.reclen)) {
        const bytes = this.r16(at + DIRENT64.reclen);
        const name = this.text(at + DIRENT64.name, bytes - DIRENT64.name);
        if (name !== '.' && name !== '..') entries.push({ name, type: this.r8(at + DIRENT64.type) });
      }
    }
  }
  /**
   * The whole of a small file of /proc, /sys or a cgroup, as text.
   * @throws SysError; EINVAL also for a file above 256 KiB.
   */
  readFile(path: string): string {
    const fd = this.open(path, O_RDONLY);
    try {
      let text = '';
      const p = this.alloc(READ_FILE_STEP_BYTES);
      for (;;) {
        const n = this.done('read', this.raw(this.table.read, fd, p, READ_FILE_STEP_BYTES), path);
        if (n === 0) return text;
        text += this.text(p, n);
        if (text.length > READ_FILE_BYTES_MAX) throw new SysError('read', EINVAL, `${path} (too long)`);
      }
    } finally {
      this.close(fd);
    }
  }
  /** Writes a text with one write call, as /proc, /sys and cgroup files want it; the file must exist. */
  writeFile(path: string, text: string): void {
    this.writeText(path, text, O_WRONLY);
  }
  /** Creates or truncates a file and writes the text. */
  createFile(path: string, text: string, mode: number): void {
    this.writeText(path, text, O_WRONLY | O_CREAT | O_TRUNC, mode);
  }
  private writeText(path: string, text: string, flags: number, mode = 0): void {
    const fd = this.open(path, flags, mode);
    try {
      const before = this.scratchUsed;
      const p = this.cstr(text);
      const length = text === '' ? 0 : this.cstrLength(p, this.scratchUsed - before);
      this.done('write', this.raw(this.table.write, fd, p, length), path);
    } finally {
      this.close(fd);
    }
  }
  private cstrLength(p: number, max: number): number {
    return this.bytes(p, max).indexOf(0);
  }
  /** A new pipe: [read end, write end], both close-on-exec. */
  pipe2(flags = 0): [number, number] {
    const p = this.alloc(8);
    this.done('pipe2', this.raw(this.table.pipe2, p, flags | O_CLOEXEC));
    return [this.r32(p), this.r32(p + 4)];
  }
  /** @param flags O_CLOEXEC or 0: the copy is inherited by execve. `from` and `to` must differ. */
  dup3(from: number, to: number, flags = 0): void {
    this.done('dup3', this.raw(this.table.dup3, from, to, flags), `fd ${from} to ${to}`);
  }
  /** @param argument a number; calls that take a pointer are not for this. */
  fcntl(fd: number, command: number, argument = 0): number {
    return this.done('fcntl', this.raw(this.table.fcntl, fd, command, argument), `fd ${fd}`);
  }
  /** An ioctl whose argument is an arena pointer (`bytes` long) or, with bytes 0, a plain number. */
  ioctl(fd: number, request: number, argument = 0, bytes = 0): number {
    if (bytes > 0) this.check(argument, bytes);
    return this.done('ioctl', this.raw(this.table.ioctl, fd, request, argument), `fd ${fd}`);
  }
  fsync(fd: number): void {
    this.done('fsync', this.raw(this.table.fsync, fd), `fd ${fd}`);
  }
  syncfs(fd: number): void {
    this.done('syncfs', this.raw(this.table.syncfs, fd), `fd ${fd}`);
  }
  sync(): void {
    this.raw(this.table.sync);
  }
  /** Sets the file creation mask; gives the old one. */
  umask(mask: number): number {
    return this.raw(this.table.umask, mask);
  }
}

/** struct statfs, 64-bit: f_type first, 120 bytes in all. */
const STATFS_BYTES = 120;

/** The kernel's new_encode_dev: what mknod takes. */
export function deviceNumber(major: number, minor: number): number {
  return (minor & 0xff) + ((major & 0xfff) << 8) + (minor & 0xf_ff00) * 0x1000;
}
