/**
 * A kernel for unit tests: records every syscall by name and answers from a script, with the arena in
 * plain memory. Nothing is ever forked: `clone` answers what the test says (0: go on as the child).
 */
import type { ArchTable } from '../../src/agent/sys/arch-table.ts';
import { Kernel } from '../../src/agent/sys/kernel.ts';
import type { Sys } from '../../src/agent/sys/sys.ts';
import { ARM64 } from '../../src/agent/sys/syscalls-arm64.ts';
import { X64 } from '../../src/agent/sys/syscalls-x64.ts';

/** The syscalls by name; the table's other fields are no calls. */
export type CallName = Exclude<keyof ArchTable, `O_${string}` | `epollEvent${string}`>;

/** One recorded call: the numbers as the kernel would get them, and the C string behind each pointer. */
export interface FakeCall {
  readonly name: CallName;
  readonly args: readonly number[];
  /** For every argument that points at the arena: the bytes there up to a NUL, as text; else ''. */
  readonly texts: readonly string[];
}

/** Answers a call: >= 0 or -errno; undefined: 0. It may write into the arena first (`fake.kernel.w32(...)`). */
export type Answer = (call: FakeCall, fake: FakeKernel) => number | undefined;

/** Thrown by a successful `execve` and by `exit_group`, which no process outlives. */
export class ProcessEnded extends Error {
  readonly call: FakeCall;

  constructor(call: FakeCall) {
    super(`the process ended by ${call.name} ${call.args[0]}`);
    this.call = call;
  }
}

const BASE = 0x6000_0000;
const SIZE = 8 << 20;
const FIRST_FD = 100;
const TEXT_BYTES_MAX = 4096;
/** Calls that make a descriptor; without a script each gives a new one. */
const OPENING: ReadonlySet<string> = new Set<CallName>([
  'openat',
  'openat2',
  'epoll_create1',
  'signalfd4',
  'inotify_init1',
  'open_tree',
  'pidfd_open',
  'socket',
  'timerfd_create',
  'eventfd2',
]);

/**
 * Without a script: calls that make descriptors give fresh ones, `clone` gives 0 (this is the child),
 * `write` takes everything, `read` answers end of file, every other call 0.
 */
export class FakeKernel implements Sys {
  readonly arch: 'x64' | 'arm64';
  readonly base = BASE;
  readonly size = SIZE;
  readonly memory = new ArrayBuffer(SIZE);
  readonly calls: FakeCall[] = [];
  readonly kernel: Kernel;
  private readonly names = new Map<number, CallName>();
  private readonly answers = new Map<CallName, Answer>();
  private readonly queued = new Map<CallName, Answer[]>();
  private nextFd = FIRST_FD;

  constructor(arch: 'x64' | 'arm64' = 'x64') {
    this.arch = arch;
    const table = arch === 'x64' ? X64 : ARM64;
    for (const [name, nr] of Object.entries(table)) {
      if (!/^(O_|epollEvent)/.test(name)) this.names.set(nr, name as CallName);
    }
    this.kernel = new Kernel(this, table);
  }

  /** Every call of that name is answered so from now on. */
  on(name: CallName, answer: Answer | number): this {
    this.answers.set(name, typeof answer === 'number' ? () => answer : answer);
    return this;
  }

  /** The next call of that name is answered so; may be given several times, in order. */
  once(name: CallName, answer: Answer | number): this {
    const queue = this.queued.get(name) ?? [];
    queue.push(typeof answer === 'number' ? () => answer : answer);
    this.queued.set(name, queue);
    return this;
  }

  /** The names of all calls so far, in order. */
  get order(): CallName[] {
    return this.calls.map((call) => call.name);
  }

  /** All calls of that name so far. */
  of(name: CallName): FakeCall[] {
    return this.calls.filter((call) => call.name === name);
  }

  /** A descriptor that nothing else has. */
  fd(): number {
    return this.nextFd++;
  }

  sc(nr: number, ...given: number[]): number {
    const name = this.names.get(nr);
    if (!name) throw new Error(`fake kernel: no syscall has the number ${nr}`);
    const args = [0, 1, 2, 3, 4, 5].map((i) => given[i] ?? 0);
    const call: FakeCall = { name, args, texts: args.map((arg) => this.textAt(arg)) };
    this.calls.push(call);
    const answer = this.queued.get(name)?.shift() ?? this.answers.get(name);
    const result = (answer ? answer(call, this) : this.byDefault(call)) ?? 0;
    if (name === 'exit_group' || (name === 'execve' && result >= 0)) throw new ProcessEnded(call);
    return result;
  }

  private byDefault(call: FakeCall): number {
    if (OPENING.has(call.name)) return this.fd();
    if (call.name === 'write') return call.args[2] as number;
    if (call.name === 'pipe2') {
      this.kernel.w32(call.args[0] as number, this.fd());
      this.kernel.w32((call.args[0] as number) + 4, this.fd());
    }
    return 0;
  }

  private textAt(p: number): string {
    if (p < BASE || p >= BASE + SIZE) return '';
    const bytes = new Uint8Array(this.memory, p - BASE, Math.min(TEXT_BYTES_MAX, BASE + SIZE - p));
    const nul = bytes.indexOf(0);
    return new TextDecoder().decode(nul < 0 ? bytes : bytes.subarray(0, nul));
  }
}
