import { SquibError } from '../base/errors.ts';
import type { Resources } from '../proto/agent.ts';
import type { Loop } from './loop.ts';
import { step, unless } from './step.ts';
import { AT_FDCWD, AT_REMOVEDIR, EPOLLPRI, O_RDONLY, SIGKILL } from './sys/constants.ts';
import { EBUSY, ENOENT, ESRCH } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

const ROOT = '/sys/fs/cgroup';
const CPU_PERIOD_US = 100_000;
/** Beyond a double's whole numbers: "no limit". */
const LIMIT_MAX = 2 ** 53;

/** A container's cgroup (v2). */
export class Cgroup {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #loop: Loop;
  #eventsFd = -1;
  #oomKills = 0;

  /** Makes the cgroup and sets its limits; leaves nothing behind when that fails. */
  constructor(kernel: Kernel, loop: Loop, id: string, resources: Resources | undefined) {
    this.#kernel = kernel;
    this.#loop = loop;
    this.path = `${ROOT}/${id}`;
    step(`make cgroup "${id}"`, () => kernel.mkdirat(AT_FDCWD, this.path, 0o755));
    try {
      for (const [file, text] of resources ? limits(resources) : []) {
        step(`write "${text}" to ${file}`, () => this.#set(file, text));
      }
    } catch (thrown) {
      this.remove();
      throw thrown;
    }
  }

  #set(file: string, text: string): void {
    // A kernel without swap has no swap file, and none is what 0 asks for.
    const fine = file === 'memory.swap.max' && text === '0' ? [ENOENT] : [];
    unless(fine, () => this.#kernel.writeFile(`${this.path}/${file}`, text));
  }

  /** Calls `killed` after every kill by the memory limit. */
  watchOom(killed: () => void): void {
    const fd = unless([ENOENT], () => this.#kernel.open(`${this.path}/memory.events`, O_RDONLY));
    if (fd === undefined) return;
    this.#eventsFd = fd;
    this.#loop.add(fd, EPOLLPRI, () => this.checkOom(killed));
  }

  /** The same at once: before an exit is told, so that its cause comes first. */
  checkOom(killed: () => void): void {
    if (this.#eventsFd < 0) return;
    const kills = counter(this.#kernel.readFile(`${this.path}/memory.events`), 'oom_kill');
    if (kills > this.#oomKills) killed();
    this.#oomKills = kills;
  }

  /** Descriptor for clone3; to be closed by the caller. */
  open(): number {
    return this.#kernel.open(this.path, O_RDONLY);
  }

  /** Every process in it, by the VM's pids. */
  pids(): number[] {
    const text = this.#kernel.readFile(`${this.path}/cgroup.procs`);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  }

  /** True while a process in it, or below it, is alive or not yet reaped. */
  get populated(): boolean {
    return counter(this.#kernel.readFile(`${this.path}/cgroup.events`), 'populated') > 0;
  }

  signal(signal: number): void {
    if (signal === SIGKILL) {
      this.#kernel.writeFile(`${this.path}/cgroup.kill`, '1');
      return;
    }
    for (const pid of this.pids()) unless([ESRCH], () => this.#kernel.kill(pid, signal));
  }

  /** A file's text; '' when the kernel has no such controller. */
  read(file: string): string {
    return unless([ENOENT], () => this.#kernel.readFile(`${this.path}/${file}`)) ?? '';
  }

  /** Removes it with what the container made below it; nobody may be in it any more. */
  remove(): void {
    if (this.#eventsFd >= 0) {
      this.#loop.remove(this.#eventsFd);
      this.#kernel.close(this.#eventsFd);
      this.#eventsFd = -1;
    }
    this.#removeTree(this.path);
  }

  #removeTree(path: string): void {
    const busy = unless([EBUSY, ENOENT], () => {
      this.#kernel.unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
      return false;
    });
    if (busy === false) return;
    const fd = unless([ENOENT], () => this.#kernel.open(path, O_RDONLY));
    if (fd === undefined) return;
    let entries: { name: string; type: number }[];
    try {
      entries = this.#kernel.readDir(fd);
    } finally {
      this.#kernel.close(fd);
    }
    for (const { name, type } of entries) if (type === DT_DIR) this.#removeTree(`${path}/${name}`);
    this.#kernel.unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
  }
}

const DT_DIR = 4;

/** Lets the cgroups below the root have every controller that the kernel has. */
export function enableControllers(kernel: Kernel): void {
  const names = kernel.readFile(`${ROOT}/cgroup.controllers`).trim();
  for (const name of names === '' ? [] : names.split(' ')) {
    // One that cannot be enabled is missed by a limit that needs it, with that limit's name.
    unless([EBUSY, ENOENT], () => kernel.writeFile(`${ROOT}/cgroup.subtree_control`, `+${name}`));
  }
}

/** The value of `key` in a flat keyed file; 0 without it. */
export function counter(text: string, key: string): number {
  for (const line of text.split('\n')) {
    if (line.startsWith(`${key} `)) return Number(line.slice(key.length + 1));
  }
  return 0;
}

/** File names and texts, in the order in which they are to be written. */
function limits(r: Resources): (readonly [string, string])[] {
  const out: [string, string][] = [];
  if (r.memoryMax > 0) {
    out.push(['memory.max', amount(r.memoryMax)]);
    if (r.swapMax === 0) out.push(['memory.swap.max', '0']);
  }
  if (r.memoryLow > 0) out.push(['memory.low', amount(r.memoryLow)]);
  if (r.swapMax !== 0) out.push(['memory.swap.max', r.swapMax < 0 ? 'max' : amount(r.swapMax)]);
  if (r.cpuQuotaUs > 0 || r.cpuPeriodUs > 0) {
    out.push([
      'cpu.max',
      `${r.cpuQuotaUs > 0 ? amount(r.cpuQuotaUs) : 'max'} ${r.cpuPeriodUs || CPU_PERIOD_US}`,
    ]);
  }
  if (r.cpuWeight > 0) out.push(['cpu.weight', `${r.cpuWeight}`]);
  if (r.cpusetCpus !== '') out.push(['cpuset.cpus', r.cpusetCpus]);
  if (r.pidsMax > 0) out.push(['pids.max', amount(r.pidsMax)]);
  for (const { key, value } of r.unified) {
    if (key.includes('/') || !key.includes('.')) {
      throw new SquibError('invalid-argument', `unified resource "${key}" is no cgroup file name`);
    }
    out.push([key, value]);
  }
  return out;
}

function amount(value: number): string {
  return value >= LIMIT_MAX ? 'max' : `${value}`;
}
