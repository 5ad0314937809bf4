import type { Device, Mount } from '../proto/agent.ts';
import { isDev } from './mounts.ts';
import { makeDirectories, requireAbsolute } from './path.ts';
import { step, unless } from './step.ts';
import { AT_FDCWD, S_IFCHR } from './sys/constants.ts';
import { EEXIST, ENOENT } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

const MODE = S_IFCHR + 0o666;

/** What every container has, by the runtime spec: [name, major, minor]. */
const DEFAULT_DEVICES: readonly (readonly [string, number, number])[] = [
  ['null', 1, 3],
  ['zero', 1, 5],
  ['full', 1, 7],
  ['random', 1, 8],
  ['urandom', 1, 9],
  ['tty', 5, 0],
];

const LINKS: readonly (readonly [string, string])[] = [
  ['/proc/self/fd', '/dev/fd'],
  ['/proc/self/fd/0', '/dev/stdin'],
  ['/proc/self/fd/1', '/dev/stdout'],
  ['/proc/self/fd/2', '/dev/stderr'],
  ['/proc/kcore', '/dev/core'],
];

/**
 * Fills the container's /dev, after pivot_root and with umask 0. A /dev that the spec binds from
 * elsewhere is left as it is.
 */
export function makeDevices(kernel: Kernel, devices: readonly Device[], mounts: readonly Mount[]): void {
  if (mounts.some((m) => m.type === 'bind' && isDev(m))) return;
  makeDirectories(kernel, '/dev');
  for (const [name, major, minor] of DEFAULT_DEVICES) {
    make(kernel, { path: `/dev/${name}`, mode: MODE, major, minor, uid: 0, gid: 0 });
  }
  for (const device of devices) make(kernel, device);
  for (const [target, path] of LINKS) {
    step(`link "${path}"`, () => unless([EEXIST], () => kernel.symlinkat(target, AT_FDCWD, path)));
  }
  step('link "/dev/ptmx"', () => {
    unless([ENOENT], () => kernel.unlinkat(AT_FDCWD, '/dev/ptmx'));
    kernel.symlinkat('pts/ptmx', AT_FDCWD, '/dev/ptmx');
  });
}

function make(kernel: Kernel, { path, mode, major, minor, uid, gid }: Device): void {
  step(`make device "${path}"`, () => {
    requireAbsolute(path, 'device path');
    const slash = path.lastIndexOf('/');
    if (slash > 0 && path.slice(0, slash) !== '/dev') makeDirectories(kernel, path.slice(0, slash));
    const made = unless([EEXIST], () => {
      kernel.mknodat(AT_FDCWD, path, mode, major, minor);
      return true;
    });
    if (made && (uid !== 0 || gid !== 0)) kernel.fchownat(AT_FDCWD, path, uid, gid);
  });
}
