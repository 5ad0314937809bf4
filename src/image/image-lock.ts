import { closeSync, constants, fstatSync, mkdirSync, openSync, statSync } from 'node:fs';
import { SquibError } from '../base/errors.ts';
import type { Libc } from './directory/libc.ts';

/**
 * Runs `work` while this process alone, on the whole host, holds the lock on a directory; it waits for
 * as long as another has it. The lock is flock(2) on the directory itself: no file of it is left, and it
 * ends with the process however that ends.
 * @param make the directory may be missing, and others may remove it.
 */
export function withDirectoryLock<T>(dir: string, libc: Libc, make: boolean, work: () => T): T {
  for (;;) {
    if (make) mkdirSync(dir, { recursive: true, mode: 0o700 });
    const fd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const errno = libc.lock(fd);
      if (errno) throw new SquibError('internal', `${dir} cannot be locked (${errno})`);
      if (isAt(dir, fd)) return work();
    } finally {
      closeSync(fd);
    }
    if (!make) throw new SquibError('aborted', `${dir} was removed or replaced while it was waited for`);
  }
}

function isAt(dir: string, fd: number): boolean {
  const there = statSync(dir, { throwIfNoEntry: false });
  const own = fstatSync(fd);
  return there !== undefined && there.ino === own.ino && there.dev === own.dev;
}
