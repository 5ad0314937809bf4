import { readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/**
 * The name under which a file is made before it gets `path`: this process' own. Removes what
 * processes that are gone left of earlier attempts, so that a crash costs no space for long.
 */
export function temporaryPath(path: string): string {
  const prefix = `${basename(path)}.tmp-`;
  for (const name of readdirSync(dirname(path))) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number(/^\d+/.exec(name.slice(prefix.length))?.[0]);
    if (pid === process.pid || isGone(pid)) rmSync(join(dirname(path), name), { force: true });
  }
  return join(dirname(path), prefix + process.pid);
}

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
