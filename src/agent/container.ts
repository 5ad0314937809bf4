import { SquibError } from '../base/errors.ts';
import type { CreateContainerRequest, Process, Rootfs } from '../proto/agent.ts';
import type { MuxStream, StreamSink } from '../vsock/stream.ts';
import { Cgroup } from './cgroup.ts';
import type { Channel } from './channel.ts';
import { Cleanup } from './cleanup.ts';
import { type ContainerMove, type ContainerState, stateAfter } from './container-state.ts';
import { awaitDisks } from './disks.ts';
import type { Events } from './events.ts';
import { Launch } from './launch.ts';
import type { Loop } from './loop.ts';
import { type NamespacePlan, planNamespaces } from './namespaces.ts';
import type { Reaper } from './reaper.ts';
import { MountedRoot } from './rootfs.ts';
import { ProcessStdio } from './stdio.ts';
import { codeOf, unless } from './step.ts';
import { CLOCK_REALTIME, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM } from './sys/constants.ts';
import { ESRCH } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

/** A killed process that does not die hangs in the kernel. */
export const EMPTY_WAIT_MS = 10_000;
const POLL_MS = 2;
const FATAL_BEFORE_START: readonly number[] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/** What containers are made with. */
export interface ContainerParts {
  readonly kernel: Kernel;
  readonly loop: Loop;
  readonly reaper: Reaper;
  readonly events: Events;
  readonly channel: Channel;
  /** Loads what of the kernel is still missing: disks' drivers, overlayfs. */
  readonly prepare: () => void;
  /** The init process of a container that runs; throws for any other. */
  readonly pidOf: (container: string) => number;
}

/** The answer to a call that takes time: an error, or nothing (create: the pid). */
export type Done<T> = (result: T | SquibError) => void;

/** One container, from CreateContainer to DeleteContainer. */
export class Container {
  readonly id: string;
  readonly #parts: ContainerParts;
  readonly #request: CreateContainerRequest;
  readonly #process: Process;
  readonly #namespaces: NamespacePlan;
  readonly #cleanup = new Cleanup();
  #state: ContainerState = 'creating';
  #root: MountedRoot | undefined;
  #cgroup: Cgroup | undefined;
  #stdio: ProcessStdio | undefined;
  #launch: Launch | undefined;
  #exited = false;
  #failure: SquibError | undefined;
  #onCreated: Done<number> | undefined;
  #onStarted: Done<undefined> | undefined;

  /** @param request a valid one; `created` gets the pid, or the error after all was undone. */
  constructor(
    parts: ContainerParts,
    request: CreateContainerRequest & { readonly process: Process; readonly rootfs: Rootfs },
    created: Done<number>,
  ) {
    this.id = request.id;
    this.#parts = parts;
    this.#request = request;
    this.#process = request.process;
    this.#namespaces = planNamespaces(request.namespaces, parts.pidOf);
    this.#onCreated = created;
    const { kernel, loop } = parts;
    const serials = [request.rootfs.upperSerial];
    if (request.rootfs.lowerSerial !== '') serials.push(request.rootfs.lowerSerial);
    parts.prepare();
    awaitDisks(kernel, loop, serials, (found) => {
      if (found instanceof SquibError) return this.#abort(found);
      try {
        this.#assemble(request.rootfs, found);
      } catch (thrown) {
        this.#abort(thrown);
      }
    });
  }

  get state(): ContainerState {
    return this.#state;
  }

  /** Of the init process, as long as it lives. @throws SquibError `failed-precondition`. */
  get pid(): number {
    if (this.#launch === undefined || this.#exited) {
      throw new SquibError(
        'failed-precondition',
        `container "${this.id}" has no process: it is ${this.#state}`,
      );
    }
    return this.#launch.pid;
  }

  get cgroup(): Cgroup {
    if (this.#cgroup === undefined || this.#state === 'creating') {
      throw new SquibError('failed-precondition', `container "${this.id}" is ${this.#state}`);
    }
    return this.#cgroup;
  }

  accept(stream: MuxStream): StreamSink | undefined {
    return this.#stdio?.accept(stream);
  }

  /** True for ports that it listens on, or will. */
  hasPort(port: number): boolean {
    const stdio = this.#process.stdio;
    return [stdio?.stdinPort, stdio?.stdoutPort, stdio?.stderrPort].includes(port);
  }

  start(started: Done<undefined>): void {
    this.#move('start');
    this.#onStarted = started;
    this.#launch?.start();
  }

  /** @param all every process of the cgroup instead of the init process alone. */
  signal(signal: number, all: boolean): void {
    if (this.#state === 'creating' || this.#state === 'deleting') {
      throw new SquibError(
        'failed-precondition',
        `cannot signal container "${this.id}": it is ${this.#state}`,
      );
    }
    if (all) {
      this.cgroup.signal(signal);
      return;
    }
    if (this.#exited) throw new SquibError('not-found', `container "${this.id}": process already finished`);
    // Right before its execve it has no handlers, and as init of its pid namespace would ignore these.
    const fatal = this.#state === 'created' && FATAL_BEFORE_START.includes(signal);
    unless([ESRCH], () => this.#parts.kernel.kill(this.pid, fatal ? SIGKILL : signal));
  }

  /** Kills what is left and gives everything back. */
  delete(done: Done<undefined>): void {
    this.#move('delete');
    this.killAll();
    const { loop } = this.#parts;
    const deadline = loop.now() + EMPTY_WAIT_MS;
    const attempt = (ready: () => boolean, what: string, next: () => void) => {
      if (ready()) return next();
      if (loop.now() < deadline) loop.after(POLL_MS, () => attempt(ready, what, next));
      else this.#undeleted(new SquibError('deadline-exceeded', `container "${this.id}": ${what}`), done);
    };
    attempt(
      () => this.#exited && !this.#cgroup?.populated,
      `its processes did not end within ${EMPTY_WAIT_MS} ms`,
      () => {
        const failures = this.#cleanup.run();
        if (failures.length > 0) {
          return this.#undeleted(
            new SquibError('internal', `container "${this.id}": ${failures.join('; ')}`),
            done,
          );
        }
        attempt(
          () => this.#root?.released ?? true,
          'the kernel keeps its disk',
          () => done(undefined),
        );
      },
    );
  }

  #undeleted(error: SquibError, done: Done<undefined>): void {
    this.#move('delete-failed');
    done(error);
  }

  killAll(): void {
    this.#cgroup?.signal(SIGKILL);
  }

  /** For the end of the VM: unmounts without waiting for anybody. */
  giveUp(): void {
    this.#cleanup.run();
  }

  get empty(): boolean {
    return this.#cgroup === undefined || !this.#cgroup.populated;
  }

  #assemble(rootfs: Rootfs, disks: ReadonlyMap<string, string>): void {
    const { kernel, loop, reaper } = this.#parts;
    const root = new MountedRoot(kernel, this.id, rootfs, disks);
    this.#root = root;
    this.#cleanup.add('unmount the root', () => root.unmount());
    const cgroup = new Cgroup(kernel, loop, this.id, this.#request.resources);
    this.#cgroup = cgroup;
    this.#cleanup.add('remove the cgroup', () => cgroup.remove());
    cgroup.watchOom(() => this.#oom());
    const stdio = new ProcessStdio(this.#parts, this.#process.stdio);
    this.#stdio = stdio;
    this.#cleanup.add('close stdio', () => stdio.close());
    const cgroupFd = cgroup.open();
    const { joins, newNetwork, newCgroup } = this.#namespaces;
    const plan = {
      request: this.#request,
      process: this.#process,
      root: root.path,
      stdio: stdio.child,
      joins,
      newNetwork,
      newCgroup,
    };
    try {
      this.#launch = new Launch(
        { kernel, loop, reaper, namespaces: this.#namespaces, cgroup: cgroupFd, plan },
        {
          ready: (pid) => this.#ready(pid),
          started: () => this.#started(undefined),
          failed: (error) => {
            this.#failure = error;
          },
          exited: (status) => this.#exit(status),
        },
      );
    } finally {
      kernel.close(cgroupFd);
    }
    stdio.handedOver();
  }

  #move(move: ContainerMove): void {
    this.#state = stateAfter(this.#state, move, this.id);
  }

  /** The creation has failed and no process is left. */
  #abort(thrown: unknown): void {
    const failures = this.#cleanup.run();
    const error = thrown instanceof SquibError ? thrown : new SquibError(codeOf(thrown), String(thrown));
    const left = failures.length > 0 ? ` (and could not be undone: ${failures.join('; ')})` : '';
    this.#onCreated?.(left === '' ? error : new SquibError(error.code, `${error.message}${left}`));
  }

  #ready(pid: number): void {
    this.#move('ready');
    this.#onCreated?.(pid);
    this.#onCreated = undefined;
  }

  #started(failure: SquibError | undefined): void {
    if (failure === undefined) this.#move('executed');
    this.#onStarted?.(failure);
    this.#onStarted = undefined;
  }

  #exit(status: number): void {
    this.#exited = true;
    const failure = this.#failure;
    if (this.#state === 'creating') {
      this.#abort(failure ?? new SquibError('internal', `the process ended with ${status}`));
      return;
    }
    // The pid namespace dies with its init; without one of its own, others may live on.
    if (!this.#namespaces.newPid) this.killAll();
    if (failure !== undefined) this.#started(failure);
    this.#move('exit');
    this.#cgroup?.checkOom(() => this.#oom());
    const { seconds, nanos } = this.#parts.kernel.clockGettime(CLOCK_REALTIME);
    this.#parts.events.emit({
      exit: { container: this.id, exec: '', status, timeSeconds: seconds, timeNanos: nanos },
    });
  }

  #oom(): void {
    this.#parts.events.emit({ outOfMemory: { container: this.id } });
  }
}
