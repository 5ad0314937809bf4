import { SquibError } from '../base/errors.ts';
import type { Mount } from '../proto/agent.ts';
import { findInRoot, lookInRoot, openInRoot, requireAbsolute } from './path.ts';
import { step, unless } from './step.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  MS_BIND,
  MS_RDONLY,
  MS_REC,
  MS_REMOUNT,
  S_IFDIR,
  S_IFMT,
} from './sys/constants.ts';
import { ENOENT } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

const PERMISSIONS = 0o7777;

/** Mounts one entry of the spec inside `root`, as runc does; before pivot_root, with the agent's /proc. */
export function mountInRoot(kernel: Kernel, root: string, m: Mount): void {
  step(`mount ${m.type} on "${m.destination}"`, () => {
    requireAbsolute(m.destination, 'mount destination');
    const flags = m.flags % 0x1_0000_0000;
    if (m.type === 'bind') bind(kernel, root, m, flags);
    else mountFilesystem(kernel, root, m, flags);
    if (m.propagation > 0) {
      onTarget(kernel, root, m.destination, (target) => kernel.mount({ target, flags: m.propagation }));
    }
  });
}

function bind(kernel: Kernel, root: string, m: Mount, flags: number): void {
  const source = kernel.stat(AT_FDCWD, m.source);
  const isDirectory = (source.mode & S_IFMT) === S_IFDIR;
  atTarget(kernel, openInRoot(kernel, root, m.destination, isDirectory ? 'directory' : 'file'), (target) =>
    kernel.mount({ source: m.source, target, flags: (flags & MS_REC) | MS_BIND }),
  );
  // A bind mount takes its other flags only afterwards.
  if ((flags & ~(MS_REC | MS_BIND | MS_REMOUNT)) === 0) return;
  const remount = (flags & ~MS_REC) | MS_BIND | MS_REMOUNT;
  onTarget(kernel, root, m.destination, (target) => kernel.mount({ target, flags: remount }));
}

function mountFilesystem(kernel: Kernel, root: string, m: Mount, flags: number): void {
  if (m.type === 'proc' || m.type === 'sysfs') refuseSymlink(kernel, root, m.destination);
  const existed = m.type === 'tmpfs' ? modeOf(kernel, root, m.destination) : undefined;
  let data = m.data;
  // A tmpfs takes the mode of what it covers, unless the spec says otherwise behind it.
  if (existed !== undefined) data = `mode=${existed.toString(8)}${data === '' ? '' : `,${data}`}`;
  const call = {
    source: m.source,
    type: m.type === 'cgroup' ? 'cgroup2' : m.type,
    flags: isRemountedLater(m) ? flags & ~MS_RDONLY : flags,
    // cgroup v1 options such as `xattr,name=systemd` mean nothing to cgroup2.
    data: m.type === 'cgroup' ? '' : data,
  };
  atTarget(kernel, openInRoot(kernel, root, m.destination, 'directory'), (target) =>
    kernel.mount({ ...call, target }),
  );
}

/** What must still be written to, and becomes read-only by `remountReadonly` at the end. */
function isRemountedLater(m: Mount): boolean {
  return m.type === 'tmpfs' || isDev(m);
}

export function isDev(m: Mount): boolean {
  return (
    m.destination
      .split('/')
      .filter((part) => part !== '' && part !== '.')
      .join('/') === 'dev'
  );
}

/** After pivot_root: makes what had to be writable until now read-only, where the spec says so. */
export function remountReadonly(kernel: Kernel, mounts: readonly Mount[]): void {
  for (const m of mounts) {
    const flags = m.flags % 0x1_0000_0000;
    if ((flags & MS_RDONLY) === 0 || !isRemountedLater(m)) continue;
    step(`remount "${m.destination}" read-only`, () => {
      const bound = m.type === 'bind' ? MS_BIND : 0;
      kernel.mount({ target: m.destination, flags: (flags & ~MS_REC) | bound | MS_REMOUNT });
    });
  }
}

/** A mount of proc or sysfs through a symlink would end up where the image wants it. */
function refuseSymlink(kernel: Kernel, root: string, path: string): void {
  const found = unless([ENOENT], () => kernel.stat(AT_FDCWD, `${root}${path}`, AT_SYMLINK_NOFOLLOW));
  if (found !== undefined && (found.mode & S_IFMT) !== S_IFDIR) {
    throw new SquibError('invalid-argument', `"${path}" must be an ordinary directory`);
  }
}

function modeOf(kernel: Kernel, root: string, path: string): number | undefined {
  const fd = findInRoot(kernel, root, path);
  if (fd === undefined) return undefined;
  try {
    return kernel.stat(fd, '', AT_EMPTY_PATH).mode & PERMISSIONS;
  } finally {
    kernel.close(fd);
  }
}

function onTarget(kernel: Kernel, root: string, path: string, use: (target: string) => void): void {
  atTarget(kernel, lookInRoot(kernel, root, path), use);
}

/** mount(2) on a descriptor: it cannot be led elsewhere between look-up and use. */
function atTarget(kernel: Kernel, fd: number, use: (target: string) => void): void {
  try {
    use(`/proc/self/fd/${fd}`);
  } finally {
    kernel.close(fd);
  }
}
