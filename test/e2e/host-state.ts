import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/**
 * What of a test's containers is left on the host. Everything is found by a string that only that test's
 * things carry, usually its directory: command lines, mount points and file names name it.
 */

export interface HostProcess {
  readonly pid: number;
  /** The arguments joined by spaces. */
  readonly command: string;
}

/** All running processes but this one; zombies and kernel threads have no command line and are left out. */
function listProcesses(): HostProcess[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .map((pid) => ({ pid, command: readProc(pid, 'cmdline').split('\0').join(' ').trim() }))
    .filter(({ command }) => command !== '');
}

/** Running processes whose command line contains `text`. */
export function processesNaming(text: string): HostProcess[] {
  return listProcesses().filter(({ command }) => command.includes(text));
}

/**
 * Running processes that have to do with a directory: it is in their arguments or environment, or their working
 * directory, root or an open file is below it. Finds a VMM too, whose arguments and environment name nothing.
 */
export function processesUsing(directory: string): HostProcess[] {
  return listProcesses().filter(
    ({ pid, command }) =>
      command.includes(directory) ||
      readProc(pid, 'environ').includes(directory) ||
      [...openFiles(pid), linkOf(pid, 'cwd'), linkOf(pid, 'root')].some((path) => isBelow(path, directory)),
  );
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** A file of /proc/<pid>; empty when the process ended while it was looked at. */
function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return '';
  }
}

function linkOf(pid: number, name: string): string {
  try {
    return readlinkSync(`/proc/${pid}/${name}`);
  } catch {
    return '';
  }
}

function openFiles(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(pid, `fd/${fd}`));
  } catch {
    return [];
  }
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
/** What the host's accelerator turned out to be: kept until the next boot. */
const KEPT = '/run/squib/accel.json';

const RUNTIME_DIRECTORIES = ['/run/containerd/s', '/run/containerd/fifo', '/run/squib'];

/**
 * Paths of all files below the runtime directories, without those of another containerd's containers: entries
 * that a live process has open (FIFOs) or owns (a shim.pid) which does not use `directory`.
 */
export function runtimeFiles(directory: string): string[] {
  const ours = new Set(processesUsing(directory).map(({ pid }) => pid));
  const foreign = listProcesses().filter(({ pid }) => !ours.has(pid));
  const foreignPids = new Set(foreign.map(({ pid }) => pid));
  const foreignFiles = foreign.flatMap(({ pid }) => openFiles(pid));
  return RUNTIME_DIRECTORIES.flatMap((parent) =>
    entriesOf(parent)
      .map((name) => `${parent}/${name}`)
      .filter((entry) => entry !== KEPT)
      .filter((entry) => !foreignFiles.some((path) => isBelow(path, entry)))
      .filter((entry) => !foreignPids.has(ownerOf(entry)))
      .flatMap((entry) => [entry, ...entriesOf(entry).map((name) => `${entry}/${name}`)]),
  );
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // It is not there, was just removed, or is a file.
    return [];
  }
}

/** The process that a run directory of squib belongs to; 0: none is noted. */
function ownerOf(directory: string): number {
  try {
    return Number.parseInt(readFileSync(`${directory}/shim.pid`, 'latin1'), 10) || 0;
  } catch {
    return 0;
  }
}

/** A picture of everything that a container may leave behind. */
export interface Traces {
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  readonly files: readonly string[];
}

/**
 * Processes that use `directory` (take containerd's own), mounts below it, and the files of the runtime
 * directories. Take one before and one after: `deepEqual` shows what leaked.
 */
export function traces(directory: string): Traces {
  return {
    processes: processesUsing(directory).map(({ command }) => command),
    mounts: mountsBelow(directory),
    files: runtimeFiles(directory),
  };
}
