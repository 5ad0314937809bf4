import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { withDeadline } from '../../base/deadline.ts';
import { SquibError } from '../../base/errors.ts';
import type { Capabilities, Vm, VmExit, VmState } from '../contract.ts';
import type { Drive } from '../resource/drive.ts';
import { AGENT_FD, CONSOLE_FD, QMP_FD } from './argv.ts';
import { CONSOLE_BYTES_MAX, excerptTail, OutputTail } from './console.ts';
import { Drives } from './drive.ts';
import { Qmp } from './qmp.ts';
import { transition, type VmVerb } from './vm-state.ts';

/** QEMU says in a line or two what it does not like. */
const STDERR_BYTES_MAX = 4096;
/** After the process is gone, what is left in its pipes is there already. */
const DRAIN_TIMEOUT_MS = 500;
/** SIGKILL acts at once, unless the process sits in the kernel on a dead disk. */
const KILL_TIMEOUT_MS = 10_000;

export interface QemuVmParts {
  readonly id: string;
  /** Started by the engine with stdio [ignore, ignore, pipe, pipe, pipe, pipe]. */
  readonly child: ChildProcess;
  readonly capabilities: Capabilities;
  readonly passFdPath: string;
  /** Gets the guest's raw console bytes as they come: hostile. */
  readonly onConsole: ((bytes: Uint8Array) => void) | undefined;
}

/** One QEMU process and the VM in it. Owns the process and its streams; `stop` releases them all. */
export class QemuVm implements Vm {
  readonly id: string;
  readonly pid: number;
  readonly capabilities: Capabilities;
  readonly agent: Duplex;
  readonly exited: Promise<VmExit>;
  readonly #child: ChildProcess;
  readonly #qmp: Qmp;
  readonly #drives: Drives;
  readonly #console = new OutputTail(CONSOLE_BYTES_MAX);
  readonly #stderr = new OutputTail(STDERR_BYTES_MAX);
  #state: VmState = 'running';
  #stopping: Promise<void> | undefined;

  constructor(parts: QemuVmParts) {
    const { child } = parts;
    this.id = parts.id;
    this.pid = child.pid ?? -1;
    this.capabilities = parts.capabilities;
    this.#child = child;
    this.agent = pipeOf(child, AGENT_FD);
    // The owner may come later than an error; the agent's end shows as 'close' all the same.
    this.agent.on('error', () => {});
    // After the start only a failed kill comes here; `stop` sees that by its deadline.
    child.on('error', () => {});
    const qmpSocket = pipeOf(child, QMP_FD);
    this.#qmp = new Qmp(qmpSocket, () => this.#epitaph());
    this.#drives = new Drives(this.#qmp, () => descriptorOf(qmpSocket), parts.passFdPath);
    const drained = [
      collect(pipeOf(child, CONSOLE_FD), this.#console, parts.onConsole),
      collect(pipeOf(child, 2), this.#stderr),
    ];
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#state = 'stopped';
        void withDeadline(Promise.all(drained), DRAIN_TIMEOUT_MS, 'the end of the VMM output')
          .catch(() => {}) // a child of the VMM's may hold the pipe; what came so far is what counts
          .then(() => {
            resolve({ code, signal, consoleTail: this.consoleTail() });
            this.#qmp.close();
          });
      });
    });
  }

  get state(): VmState {
    return this.#state;
  }

  /** Resolves with QEMU's version when it takes commands; rejects as soon as it has ended. */
  async started(timeoutMs: number): Promise<string> {
    const died = this.exited.then(({ code, signal }) => {
      throw new SquibError('unavailable', `QEMU ended with ${signal ?? `status ${code}`}${this.#epitaph()}`);
    });
    died.catch(() => {});
    const negotiated = this.#qmp.negotiate(timeoutMs);
    // Its end reaches the QMP socket first, and the exit tells more: give it the word.
    return await Promise.race([negotiated.catch((error) => this.#orExit(died, error)), died]);
  }

  consoleTail(): string {
    return [this.#console.text(), this.#stderr.text()].filter((text) => text !== '').join('\n');
  }

  async putDrive(drive: Drive): Promise<void> {
    this.#move('putDrive');
    await this.#drives.put(drive);
  }

  async removeDrive(driveId: string): Promise<void> {
    this.#move('removeDrive');
    await this.#drives.remove(driveId);
  }

  async pause(): Promise<void> {
    const next = this.#move('pause');
    await this.#qmp.execute('stop');
    this.#settle(next);
  }

  async resume(): Promise<void> {
    const next = this.#move('resume');
    await this.#qmp.execute('cont');
    this.#settle(next);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#end();
    return this.#stopping;
  }

  async #end(): Promise<void> {
    this.#child.kill('SIGKILL'); // does nothing once the process was reaped
    await withDeadline(this.exited, KILL_TIMEOUT_MS, `the end of QEMU (pid ${this.pid}) after SIGKILL`);
    for (const stream of this.#child.stdio) stream?.destroy();
  }

  #move(verb: VmVerb): VmState {
    return transition(this.id, this.#state, verb);
  }

  /** An exit that came meanwhile stays the last word. */
  #settle(next: VmState): void {
    if (this.#state !== 'stopped') this.#state = next;
  }

  async #orExit(died: Promise<never>, error: unknown): Promise<never> {
    await withDeadline(died, DRAIN_TIMEOUT_MS, 'the exit').catch((thrown) => {
      if (thrown instanceof SquibError && thrown.code === 'unavailable') throw thrown;
    });
    throw error;
  }

  #epitaph(): string {
    const tail = excerptTail(this.consoleTail());
    return tail === '' ? '' : `; the last of its output: ${tail}`;
  }
}

/** One of the child's inherited socketpairs. */
function pipeOf(child: ChildProcess, fd: number): Duplex {
  const stream = child.stdio[fd];
  if (!stream) throw new SquibError('internal', `the VMM was started without descriptor ${fd}`);
  return stream as Duplex;
}

/** The raw descriptor of a socket, to hand to a child; Node offers no public way to it. */
function descriptorOf(socket: Duplex): number {
  const fd = (socket as Socket & { _handle?: { fd?: number } })._handle?.fd;
  if (fd === undefined || fd < 0) throw new SquibError('unavailable', 'QMP: the socket to QEMU is closed');
  return fd;
}

/** Reads a stream into `tail`, always, so that its writer never blocks; settles at its end. */
function collect(stream: Readable, tail: OutputTail, tap?: (bytes: Uint8Array) => void): Promise<void> {
  return new Promise((resolve) => {
    stream.on('data', (bytes: Uint8Array) => {
      tail.push(bytes);
      tap?.(bytes);
    });
    stream.on('error', () => resolve());
    stream.on('close', () => resolve());
    stream.on('end', () => resolve());
  });
}
