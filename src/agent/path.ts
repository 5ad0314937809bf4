import { SquibError } from '../base/errors.ts';
import { unless } from './step.ts';
import { AT_FDCWD, O_CREAT, O_PATH, RESOLVE_IN_ROOT } from './sys/constants.ts';
import { EEXIST, EINVAL, ELOOP, ENOENT } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';
import { SysError } from './sys/sys-error.ts';

/** As the kernel's own limit on a path. */
const SYMLINKS_MAX = 40;
const DIRECTORY_MODE = 0o755;

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
    const here = `${root}/${[...done, part].join('/')}`;
    const target = unless([EINVAL, ENOENT], () => kernel.readlinkat(AT_FDCWD, here));
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

/** Makes a directory and whatever is missing above it; what is there already stays as it is. */
export function makeDirectories(kernel: Kernel, path: string): void {
  let at = path.startsWith('/') ? '' : '.';
  for (const part of parts(path)) {
    at = `${at}/${part}`;
    unless([EEXIST], () => kernel.mkdirat(AT_FDCWD, at, DIRECTORY_MODE));
  }
}

/**
 * A descriptor (O_PATH) of `path` inside `root`, which no symlink leads out of. What is missing is
 * made: directories, and at the end a directory or an empty file.
 */
export function openInRoot(kernel: Kernel, root: string, path: string, kind: 'directory' | 'file'): number {
  const existing = unless([ENOENT], () => lookInRoot(kernel, root, path));
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
  const rootFd = kernel.open(root, O_PATH);
  try {
    return kernel.openat2(rootFd, path, { flags: O_PATH, resolve: RESOLVE_IN_ROOT });
  } finally {
    kernel.close(rootFd);
  }
}

/** @throws SquibError `invalid-argument` unless the path is absolute. */
export function requireAbsolute(path: string, what: string): void {
  if (!path.startsWith('/')) throw new SquibError('invalid-argument', `${what} "${path}" is not absolute`);
}
