import assert from 'node:assert/strict';
import { type ExecFileSyncOptionsWithStringEncoding, execFileSync, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Asks e2fsck, which must find nothing to say about the image. */
export function fsck(image: string): void {
  const { status, stdout, stderr } = spawnSync('e2fsck', ['-fn', image], { encoding: 'utf8' });
  assert.equal(status, 0, `e2fsck -fn: ${stdout}${stderr}`);
  assert.doesNotMatch(stdout, /\? no\b/, 'e2fsck wants to change nothing');
}

/** What debugfs says to one command. */
export function debugfs(image: string, command: string): string {
  const options = {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
    stdio: ['ignore', 'pipe', 'ignore'],
  } satisfies ExecFileSyncOptionsWithStringEncoding;
  return execFileSync('debugfs', ['-R', command, image], options);
}

/** One file as the kernel shows it. Names are latin1, times nanoseconds since 1970 as text. */
export interface Seen {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly size: number;
  readonly sectors: number;
  readonly mtime: string;
  readonly rdev: string;
  readonly inode: number;
  readonly sha256?: string;
  readonly target?: string;
}

/** Why the kernel cannot judge here; undefined: it can. */
export const noMounts: string | undefined =
  process.getuid?.() === 0 && spawnSync('losetup', ['-f']).status === 0
    ? undefined
    : 'needs root and loop devices to let the kernel mount the image';

/** Mounts the image in a mount namespace of its own and runs a shell script in it. */
export function inMounted(image: string, script: string, options = 'ro'): string {
  const inside =
    'mkdir "$1.d"; mount -o "loop,$3" "$1" "$1.d"; cd "$1.d"; set +e; sh -euc "$2"; rc=$?; cd /; umount "$1.d"; rmdir "$1.d"; exit $rc';
  const unshare = ['-m', '--propagation', 'private', 'sh', '-euc', inside, 'sh', image, script, options];
  const settings = {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
    stdio: ['ignore', 'pipe', 'pipe'],
  } satisfies ExecFileSyncOptionsWithStringEncoding;
  return execFileSync('unshare', unshare, settings);
}

/** Every file of the mounted image, the root as ".", by path. */
export function seen(image: string): Map<string, Seen> {
  const lister = join(dirname(fileURLToPath(import.meta.url)), 'list-mounted.ts');
  const lines = inMounted(image, `"${process.execPath}" "${lister}"`).split('\n').filter(Boolean);
  return new Map(lines.map((line) => JSON.parse(line) as Seen).map((file) => [file.path, file]));
}
