import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/**
 * What of a test's containers is left on the host. Everything is found by a string that only that test's
 * things carry, usually its directory: command lines, mount points and file names name it.
 */

export interface HostProcess {
  readonly pid: number;
  /** The arguments joined by spaces. */
  readonly command: string;
}

/** Running processes whose command line contains `text`, this process and zombies left out. */
export function processesNaming(text: string): HostProcess[] {
  const found: HostProcess[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, 'latin1').split('\0').join(' ').trim();
      if (command.includes(text)) found.push({ pid, command });
    } catch {
      // It ended while it was looked at.
    }
  }
  return found;
}

/** Mount points below a directory, the innermost first. */
export function mountsBelow(directory: string): string[] {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8))),
    );
  return points.filter((point) => point.startsWith(`${directory}/`)).reverse();
}

/** Unmounts even if something still uses it: the last user's end completes it. */
export function unmount(point: string): void {
  execFileSync('umount', ['--lazy', '--', point]);
}

/** Directories in which containerd, ctr and shims keep sockets and FIFOs outside of containerd's own state. */
const RUNTIME_DIRECTORIES = ['/run/containerd/s', '/run/containerd/fifo', '/run/squib'];

/** Paths of all files below the runtime directories; compare two lists to find what a test left. */
export function runtimeFiles(directories: readonly string[] = RUNTIME_DIRECTORIES): string[] {
  return directories.flatMap((directory) => {
    try {
      return readdirSync(directory, { recursive: true }).map((name) => `${directory}/${name}`);
    } catch {
      return [];
    }
  });
}

/** A picture of everything that a container may leave behind. */
export interface Traces {
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  readonly files: readonly string[];
}

/**
 * Processes and mounts that name `directory` (take containerd's state directory), and the files of the
 * runtime directories. Take one before and one after: `deepEqual` shows what leaked.
 */
export function traces(directory: string): Traces {
  return {
    processes: processesNaming(directory).map(({ command }) => command),
    mounts: mountsBelow(directory),
    files: runtimeFiles(),
  };
}
