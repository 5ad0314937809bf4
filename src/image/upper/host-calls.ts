import { getSystemErrorName } from 'node:util';
import { SquibError } from '../../base/errors.ts';
import { type CLibrary, loadCLibrary, type Native } from '../c-library.ts';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const RENAME_EXCHANGE = 2;
const O_WRONLY = 1;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_CLOEXEC = 0o2000000;
/** These two differ between architectures. */
const O_DIRECTORY = process.arch === 'arm64' ? 0o40000 : 0o200000;
const O_NOFOLLOW = process.arch === 'arm64' ? 0o100000 : 0o400000;

const ENOTSUP = 95;
const EPERM = 1;
const ENOSPC = 28;

/** File types of mknod(2). */
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFSOCK = 0o140000;

/**
 * Makes files relative to an open directory. No call follows a symlink in its last component, and
 * names have one component only, so nothing is reached that is not in the directory. Names are raw
 * bytes as latin1. Every failure is a SquibError with the call and the name: `resource-exhausted` on a
 * full disk, else `failed-precondition`.
 */
export class HostCalls {
  readonly #errno: () => number;
  readonly #openat: Native;
  readonly #mkdirat: Native;
  readonly #symlinkat: Native;
  readonly #linkat: Native;
  readonly #mknodat: Native;
  readonly #fchownat: Native;
  readonly #fchmodat: Native;
  readonly #utimensat: Native;
  readonly #fsetxattr: Native;
  readonly #lsetxattr: Native;
  readonly #renameat2: Native;

  /** @throws SquibError `failed-precondition` where koffi has no binary for this host. */
  static async load(): Promise<HostCalls> {
    return new HostCalls(await loadCLibrary());
  }

  private constructor(library: CLibrary) {
    this.#errno = library.errno;
    this.#openat = library.func('int openat(int, void *, int, int)');
    this.#mkdirat = library.func('int mkdirat(int, void *, uint32_t)');
    this.#symlinkat = library.func('int symlinkat(void *, int, void *)');
    this.#linkat = library.func('int linkat(int, void *, int, void *, int)');
    this.#mknodat = library.func('int mknodat(int, void *, uint32_t, uint64_t)');
    this.#fchownat = library.func('int fchownat(int, void *, uint32_t, uint32_t, int)');
    this.#fchmodat = library.func('int fchmodat(int, void *, uint32_t, int)');
    this.#utimensat = library.func('int utimensat(int, void *, void *, int)');
    this.#fsetxattr = library.func('int fsetxattr(int, void *, void *, size_t, int)');
    this.#lsetxattr = library.func('int lsetxattr(void *, void *, void *, size_t, int)');
    this.#renameat2 = library.func('int renameat2(int, void *, int, void *, uint32_t)');
  }

  /** @returns a descriptor of the directory itself, never of what a symlink names. */
  openDirectory(directory: number, name: string): number {
    const flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return this.#done('open', name, this.#openat(directory, zero(name), flags, 0));
  }

  /** A new, empty file, open for writing. */
  createFile(directory: number, name: string): number {
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    return this.#done('create', name, this.#openat(directory, zero(name), flags, 0o600));
  }

  /** Only its owner may enter it until its mode is set. */
  makeDirectory(directory: number, name: string): void {
    this.#done('mkdir', name, this.#mkdirat(directory, zero(name), 0o700));
  }

  symlink(target: string, directory: number, name: string): void {
    this.#done('symlink', name, this.#symlinkat(zero(target), directory, zero(name)));
  }

  /** @param path of the existing file below `root`; its directories must be the caller's own. */
  link(root: number, path: string, directory: number, name: string): void {
    this.#done('link', name, this.#linkat(root, zero(path), directory, zero(name), 0));
  }

  /** @param type one of S_IF… above; a character device gets the number 0:0. */
  makeNode(directory: number, name: string, type: number): void {
    this.#done('mknod', name, this.#mknodat(directory, zero(name), type | 0o600, 0));
  }

  chown(directory: number, name: string, uid: number, gid: number): void {
    this.#done('chown', name, this.#fchownat(directory, zero(name), uid, gid, AT_SYMLINK_NOFOLLOW));
  }

  /** Not for symlinks, which have no mode of their own. */
  chmod(directory: number, name: string, permissions: number): void {
    this.#done('chmod', name, this.#fchmodat(directory, zero(name), permissions, 0));
  }

  /** Sets access and modification time. */
  setTimes(directory: number, name: string, seconds: number, nanos: number): void {
    const times = new BigInt64Array([BigInt(seconds), BigInt(nanos), BigInt(seconds), BigInt(nanos)]);
    this.#done('utimensat', name, this.#utimensat(directory, zero(name), times, AT_SYMLINK_NOFOLLOW));
  }

  /** @returns false where the file system or the kind of file cannot have the attribute. */
  setXattr(target: XattrTarget, attribute: string, value: Uint8Array): boolean {
    const { fd, directory, name } = target;
    const result =
      fd === undefined
        ? // The last component is not followed, the one before is the open directory itself.
          this.#lsetxattr(zero(`/proc/self/fd/${directory}/${name}`), zero(attribute), value, value.length, 0)
        : this.#fsetxattr(fd, zero(attribute), value, value.length, 0);
    if (result < 0 && [ENOTSUP, EPERM].includes(this.#errno())) return false;
    this.#done(`setxattr ${attribute}`, name, result);
    return true;
  }

  /** Makes two directories change places, at once for everybody who looks. */
  exchange(a: string, b: string): void {
    this.#done('exchange', a, this.#renameat2(AT_FDCWD, zero(a), AT_FDCWD, zero(b), RENAME_EXCHANGE));
  }

  #done(call: string, name: string, result: number): number {
    if (result >= 0) return result;
    const errno = this.#errno();
    const code = errno === ENOSPC ? 'resource-exhausted' : 'failed-precondition';
    throw new SquibError(code, `${call} of "${name}" failed: ${getSystemErrorName(-errno)}`);
  }
}

/** What an attribute is set on: an open file, or a name in an open directory. */
export interface XattrTarget {
  readonly fd?: number | undefined;
  readonly directory: number;
  readonly name: string;
}

function zero(name: string): Uint8Array {
  return Buffer.from(`${name}\0`, 'latin1');
}
