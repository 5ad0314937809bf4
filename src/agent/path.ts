import { SquibError } from '../base/errors.ts';
import { AT_FDCWD, O_CLOEXEC, O_CREAT, O_PATH, RESOLVE_IN_ROOT } from './sys/constants.ts';
import { EEXIST, EINVAL, ELOOP, ENOENT } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';
import { OPEN_HOW } from './sys/structs.ts';
import { SysError } from './sys/sys-error.ts';

/** As the kernel's own limit on a path. */
const SYMLINKS_MAX = 40;
const DIRECTORY_MODE = 0o755;
const LINK_BYTES_MAX = 4096;

/** The parts of a path, without empty ones and `.`. */
function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

/**
 * Where `path` leads inside `root` when every symlink is taken as seen from inside: an absolute
 * path without symlinks, starting with `root`. What does not exist is kept as it is written.
 * @throws SquibError `invalid-argument` for a loop of symlinks.
 */
export function resolveInRoot(kernel: Kernel, root: string, path: string): string {
  const todo = parts(path).reverse();
  const done: string[] = [];
  let links = 0;
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    if (part === '..') {
      done.pop();
      continue;
    }
    const target = linkTarget(kernel, `${root}/${[...done, part].join('/')}`);
    if (target === undefined) {
      done.push(part);
      continue;
    }
    if (++links > SYMLINKS_MAX) throw new SysError('resolve', ELOOP, `"${path}"`);
    if (target.startsWith('/')) done.length = 0;
    todo.push(...parts(target).reverse());
  }
  return done.length === 0 ? root : `${root}/${done.join('/')}`;
}

/** undefined for what is no symlink, or not there; by raw calls, since that is no exception. */
function linkTarget(kernel: Kernel, path: string): string | undefined {
  const at = kernel.cstr(path);
  const p = kernel.alloc(LINK_BYTES_MAX);
  const n = kernel.raw(kernel.table.readlinkat, AT_FDCWD, at, p, LINK_BYTES_MAX);
  if (n === -EINVAL || n === -ENOENT) return undefined;
  return kernel.text(p, kernel.done('readlinkat', n, path));
}

/** Makes a directory and whatever is missing above it; what is there already stays as it is. */
export function makeDirectories(kernel: Kernel, path: string): void {
  let at = path.startsWith('/') ? '' : '.';
  for (const part of parts(path)) {
    at = `${at}/${part}`;
    const made = kernel.raw(kernel.table.mkdirat, AT_FDCWD, kernel.cstr(at), DIRECTORY_MODE);
    if (made !== -EEXIST) kernel.done('mkdirat', made, at);
  }
}

/**
 * A descriptor (O_PATH) of `path` inside `root`, which no symlink leads out of. What is missing is
 * made: directories, and at the end a directory or an empty file.
 */
export function openInRoot(kernel: Kernel, root: string, path: string, kind: 'directory' | 'file'): number {
  const existing = findInRoot(kernel, root, path);
  if (existing !== undefined) return existing;
  const resolved = resolveInRoot(kernel, root, path);
  if (kind === 'directory') makeDirectories(kernel, resolved);
  else {
    makeDirectories(kernel, resolved.slice(0, resolved.lastIndexOf('/')));
    kernel.close(kernel.open(resolved, O_CREAT, DIRECTORY_MODE));
  }
  return lookInRoot(kernel, root, path);
}

/** The same for what must exist. */
export function lookInRoot(kernel: Kernel, root: string, path: string): number {
  const fd = findInRoot(kernel, root, path);
  if (fd === undefined) throw new SysError('openat2', ENOENT, path);
  return fd;
}

/** The same; undefined when it does not exist. */
export function findInRoot(kernel: Kernel, root: string, path: string): number | undefined {
  const rootFd = kernel.open(root, O_PATH);
  const how = kernel.alloc(OPEN_HOW.bytes);
  kernel.w64(how + OPEN_HOW.flags, O_PATH + O_CLOEXEC);
  kernel.w64(how + OPEN_HOW.resolve, RESOLVE_IN_ROOT);
  const at = kernel.cstr(path);
  const fd = kernel.raw(kernel.table.openat2, rootFd, at, how, OPEN_HOW.bytes);
  kernel.close(rootFd);
  return fd === -ENOENT ? undefined : kernel.done('openat2', fd, path);
}

/** @throws SquibError `invalid-argument` unless the path is absolute. */
export function requireAbsolute(path: string, what: string): void {
  if (!path.startsWith('/')) throw new SquibError('invalid-argument', `${what} "${path}" is not absolute`);
}
