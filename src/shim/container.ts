import { describe, SquibError } from '../base/errors.ts';
import { Scope } from '../base/scope.ts';
import type { CreateTaskRequest } from '../proto/task.ts';
import type { Input } from './io/input.ts';
import type { OutputRelay } from './io/output-relay.ts';
import { type Exit, type TaskState, transition, type Verb } from './transition.ts';

/** Status of a process whose machine went away under it, as for SIGKILL. */
export const STATUS_KILLED = 137;

/** The streams of a process; undefined where containerd gave no path. */
export interface ProcessIo {
  readonly input: Input | undefined;
  readonly outputs: readonly OutputRelay[];
}

/** One container of the pod, from Create to Delete, with what must be released at its end. */
export class Container {
  readonly request: CreateTaskRequest;
  /** What Create opened and Delete releases. */
  readonly scope = new Scope();
  /** Resolves when the process has exited and all of its output is delivered. */
  readonly exited: Promise<Exit>;
  readonly #settleExited: (exit: Exit) => void;
  #state: TaskState = { name: 'created' };
  #io: ProcessIo = { input: undefined, outputs: [] };
  #exiting = false;
  readonly #holds = new Set<Promise<void>>();

  constructor(request: CreateTaskRequest) {
    this.request = request;
    const { promise, resolve } = Promise.withResolvers<Exit>();
    this.exited = promise;
    this.#settleExited = resolve;
  }

  get id(): string {
    return this.request.id;
  }

  get state(): TaskState {
    return this.#state;
  }

  /** How the process ended; undefined while it has not. */
  get exit(): Exit | undefined {
    return this.#state.name === 'stopped' ? this.#state.exit : undefined;
  }

  /** True from the first `end` on, while output may still be on its way. */
  get ending(): boolean {
    return this.#exiting;
  }

  get input(): Input | undefined {
    return this.#io.input;
  }

  /** Create's last step. */
  attach(io: ProcessIo): void {
    this.#io = io;
    this.scope.add('stdio', () => {
      io.input?.close();
      for (const output of io.outputs) output.close();
    });
  }

  /** @throws SquibError in runc's words if the state does not allow the verb. */
  check(verb: Verb): void {
    transition(this.#state, verb);
  }

  started(): void {
    if (this.#state.name === 'created') this.#state = { name: 'running' };
  }

  deleted(): void {
    transition(this.#state, 'delete');
    this.#state = { name: 'deleted' };
  }

  /**
   * Keeps an exit from taking effect until the returned function is called: the answer to Create
   * or Start, and its event, go before it.
   */
  holdExit(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#holds.add(promise);
    return () => {
      this.#holds.delete(promise);
      resolve();
    };
  }

  /**
   * Tells that the process has ended; only the first call counts. The state follows when the
   * output is delivered, so whoever sees `stopped` has all of it.
   */
  async end(exit: Exit): Promise<void> {
    if (this.#exiting || this.#state.name === 'deleted') return;
    this.#exiting = true;
    while (this.#holds.size > 0) await Promise.all(this.#holds);
    await Promise.all(this.#io.outputs.map((output) => output.drained()));
    this.#io.input?.close();
    this.#state = { name: 'stopped', exit };
    this.#settleExited(exit);
  }

  /** Releases everything; the failures come joined and named. */
  async release(): Promise<void> {
    try {
      await this.scope.close();
    } catch (thrown) {
      throw new SquibError('internal', `container ${this.id}: ${describe(thrown)}`);
    }
  }
}
