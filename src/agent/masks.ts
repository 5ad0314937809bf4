import { step } from './step.ts';
import { MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC, MS_REMOUNT } from './sys/constants.ts';
import { ENOENT, ENOTDIR } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

/** Makes paths of the container read-only, after pivot_root; one that does not exist is left out. */
export function makeReadonly(kernel: Kernel, paths: readonly string[]): void {
  for (const path of paths) {
    step(`make "${path}" read-only`, () => {
      const at = kernel.cstr(path);
      const bound = kernel.raw(kernel.table.mount, at, at, 0, MS_BIND | MS_REC, 0);
      if (bound === -ENOENT) return;
      kernel.done('mount', bound, path);
      // Flags that the mount underneath has must stay: /proc and /sys have these three.
      const keep = mountFlags(kernel, path) & (MS_NOSUID | MS_NODEV | MS_NOEXEC);
      kernel.mount({ target: path, flags: keep | MS_BIND | MS_REMOUNT | MS_RDONLY });
    });
  }
}

/** Hides paths of the container: files behind /dev/null, directories behind an empty tmpfs. */
export function maskPaths(kernel: Kernel, paths: readonly string[]): void {
  for (const path of paths) {
    step(`mask "${path}"`, () => {
      const [source, target] = [kernel.cstr('/dev/null'), kernel.cstr(path)];
      const bound = kernel.raw(kernel.table.mount, source, target, 0, MS_BIND, 0);
      if (bound === -ENOENT) return;
      if (bound !== -ENOTDIR) kernel.done('mount', bound, path);
      else kernel.mount({ source: 'tmpfs', target: path, type: 'tmpfs', flags: MS_RDONLY });
    });
  }
}

/** struct statfs, 64-bit: its size, and where f_flags is (ST_* there equals MS_*). */
const STATFS_BYTES = 120;
const STATFS_FLAGS = 80;

function mountFlags(kernel: Kernel, path: string): number {
  const p = kernel.alloc(STATFS_BYTES);
  kernel.done('statfs', kernel.raw(kernel.table.statfs, kernel.cstr(path), p), path);
  return kernel.r32(p + STATFS_FLAGS);
}
