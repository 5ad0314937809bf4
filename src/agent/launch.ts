import { type ErrorCode, SquibError } from '../base/errors.ts';
import { utf8Decode } from '../base/utf8.ts';
import { type ChildPlan, REPORT_ERROR, REPORT_READY, runChild } from './child.ts';
import type { Loop } from './loop.ts';
import { type NamespacePlan, namespaceFile } from './namespaces.ts';
import type { Reaper } from './reaper.ts';
import { step, unless } from './step.ts';
import { WOULD_BLOCK } from './sys/caller.ts';
import {
  CLONE_INTO_CGROUP,
  CLONE_NEWPID,
  EPOLLIN,
  F_SETFL,
  O_NONBLOCK,
  O_RDONLY,
  SIGKILL,
} from './sys/constants.ts';
import { ESRCH } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

/** Mounts of a container under TCG take 50 ms. */
export const SETUP_MS = 30_000;
const REPORT_BYTES = 4096;
const SIGNAL_BASE = 128;

/** What a launched process tells its owner; each at most once, in this order. */
export interface LaunchOwner {
  /** It stands right before its execve. */
  ready(pid: number): void;
  /** Its execve has succeeded. */
  started(): void;
  /** It could not be set up or executed; `exited` follows. */
  failed(error: SquibError): void;
  /** It has been reaped. */
  exited(status: number): void;
}

/** What a launch is made with. */
export interface LaunchParts {
  readonly kernel: Kernel;
  readonly loop: Loop;
  readonly reaper: Reaper;
  readonly namespaces: NamespacePlan;
  /** A directory descriptor of the cgroup it starts in. */
  readonly cgroup: number;
  /** All but the pipes. */
  readonly plan: Omit<ChildPlan, 'report' | 'start'>;
}

/** One process from its clone to its end: the parent's side of child.ts. */
export class Launch {
  readonly pid: number;
  readonly #kernel: Kernel;
  readonly #loop: Loop;
  readonly #owner: LaunchOwner;
  #report = -1;
  #start = -1;
  #phase: 'setup' | 'ready' | 'starting' | 'running' | 'failed' | 'exited' = 'setup';
  #record: Uint8Array = new Uint8Array(0);
  #cancelDeadline: () => void = () => {};

  /** @throws SquibError when there is no process; nothing is left then. */
  constructor(parts: LaunchParts, owner: LaunchOwner) {
    const { kernel, loop } = parts;
    this.#kernel = kernel;
    this.#loop = loop;
    this.#owner = owner;
    const fds: number[] = [];
    // Whatever can fail comes before the clone: a process that nobody watches must not exist.
    try {
      fds.push(...kernel.pipe2());
      fds.push(...kernel.pipe2());
      const [report = -1, reportTheirs = -1, startTheirs = -1, start = -1] = fds;
      this.#report = report;
      this.#start = start;
      kernel.fcntl(report, F_SETFL, O_NONBLOCK);
      loop.add(report, EPOLLIN, () => this.#read());
      this.#cancelDeadline = loop.after(SETUP_MS, () => {
        this.#fail(new SquibError('deadline-exceeded', `process set-up not done within ${SETUP_MS} ms`));
      });
      this.pid = cloneInto(parts, { ...parts.plan, report: reportTheirs, start: startTheirs });
      parts.reaper.watch(this.pid, (status) => this.#exited(status));
      kernel.close(reportTheirs);
      kernel.close(startTheirs);
    } catch (thrown) {
      this.#cancelDeadline();
      loop.remove(this.#report);
      for (const fd of fds) kernel.close(fd);
      throw thrown;
    }
  }

  /** Lets it execve; legal once, when it is ready. */
  start(): void {
    this.#phase = 'starting';
    const p = this.#kernel.alloc(1);
    step('start the process', () => this.#kernel.write(this.#start, p, 1));
    this.#closeStart();
  }

  /** Reads what the child says, until it says no more for now. */
  #read(): void {
    while (this.#report >= 0) {
      const p = this.#kernel.alloc(REPORT_BYTES);
      const n = this.#kernel.read(this.#report, p, REPORT_BYTES);
      if (n === WOULD_BLOCK) return;
      if (n === 0) this.#silent();
      else this.#take(this.#kernel.copy(p, n));
    }
  }

  #take(bytes: Uint8Array): void {
    if (this.#record.length > 0 || bytes[0] === REPORT_ERROR) {
      const joined = new Uint8Array(this.#record.length + bytes.length);
      joined.set(this.#record);
      joined.set(bytes, this.#record.length);
      this.#record = joined;
      return;
    }
    if (bytes[0] !== REPORT_READY || this.#phase !== 'setup') return;
    this.#phase = 'ready';
    this.#cancelDeadline();
    this.#owner.ready(this.pid);
    if (bytes.length > 1) this.#take(bytes.subarray(1));
  }

  /** The pipe has ended: by execve, by the end of the child, or after an error record. */
  #silent(): void {
    this.#closeReport();
    if (this.#record.length > 0) this.#fail(readRecord(this.#record));
    else if (this.#phase === 'starting') {
      this.#phase = 'running';
      this.#owner.started();
    }
    // Otherwise it died without a word, and its exit tells more.
  }

  #fail(error: SquibError): void {
    if (this.#phase === 'failed' || this.#phase === 'exited') return;
    this.#phase = 'failed';
    this.#cancelDeadline();
    unless([ESRCH], () => this.#kernel.kill(this.pid, SIGKILL));
    this.#owner.failed(error);
  }

  #exited(status: number): void {
    this.#read();
    if (this.#phase === 'setup') {
      const how =
        status > SIGNAL_BASE ? `was killed by signal ${status - SIGNAL_BASE}` : `exited with ${status}`;
      this.#phase = 'failed';
      this.#owner.failed(new SquibError('internal', `the process ${how} during its set-up`));
    }
    this.#phase = 'exited';
    this.#cancelDeadline();
    this.#closeReport();
    this.#closeStart();
    this.#owner.exited(status);
  }

  #closeReport(): void {
    if (this.#report < 0) return;
    this.#loop.remove(this.#report);
    this.#kernel.close(this.#report);
    this.#report = -1;
  }

  #closeStart(): void {
    if (this.#start >= 0) this.#kernel.close(this.#start);
    this.#start = -1;
  }
}

/**
 * Clones, and goes on as the child in the child: what is on the stack here is the parent's business
 * alone. A joined pid namespace is one for the children of whoever joins it: enter it, clone, come back.
 */
function cloneInto({ kernel, namespaces, cgroup }: LaunchParts, plan: ChildPlan): number {
  const clone = () => {
    const pid = step('clone the process', () =>
      kernel.clone3(namespaces.cloneFlags + CLONE_INTO_CGROUP, cgroup),
    );
    if (pid === 0) runChild(kernel, plan);
    return pid;
  };
  const { pidOf } = namespaces;
  if (pidOf === undefined) return clone();
  const own = kernel.open(namespaceFile('self', CLONE_NEWPID), O_RDONLY);
  try {
    step(`join the pid namespace of process ${pidOf}`, () => {
      const fd = kernel.open(namespaceFile(pidOf, CLONE_NEWPID), O_RDONLY);
      kernel.setns(fd, CLONE_NEWPID);
      kernel.close(fd);
    });
    return clone();
  } finally {
    kernel.setns(own, CLONE_NEWPID);
    kernel.close(own);
  }
}

function readRecord(record: Uint8Array): SquibError {
  const [code, ...message] = utf8Decode(record.subarray(1)).split('\0');
  return new SquibError(code as ErrorCode, message.join(''));
}
