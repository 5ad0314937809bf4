import { describe, SquibError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Event } from '../proto/agent.ts';
import { TaskExit, TaskOOM } from '../proto/events.ts';
import type { CreateTaskRequest } from '../proto/task.ts';
import { timestampOfMillis } from '../proto/timestamp.ts';
import { Container, STATUS_KILLED } from './container.ts';
import type { EventQueue } from './event-queue.ts';
import type { Sandbox, SandboxOptions } from './sandbox.ts';
import type { Timeline } from './timeline.ts';

/** Containers of one pod: containerd itself has no limit, Kubernetes allows 110 pods per node. */
const CONTAINERS_MAX = 256;

export interface PodOptions {
  /** The sandbox's id, or that of the only container. */
  readonly id: string;
  /** What containerd dials, as `start` answered it: unix:///path. */
  readonly address: string;
  readonly scratchBytes: number;
  /** The program that makes images. */
  readonly imageConverter: string;
  /** What a deleted container wrote is shown to the host up to so many bytes; undefined: never. */
  readonly commitBytesMax: number | undefined;
  readonly events: EventQueue;
  readonly logger: Logger;
  readonly timeline: Timeline;
  readonly startSandbox: (hooks: Pick<SandboxOptions, 'onEvent' | 'onLost'>) => Sandbox;
  /** Ends the shim: called by Shutdown once no container is left. */
  readonly shutdown: () => Promise<void>;
}

/** The containers of one pod and their machine: what the Task service's verbs work on. */
export class Pod {
  readonly options: PodOptions;
  readonly sandbox: Sandbox;
  readonly #containers = new Map<string, Container>();
  /** Ids for which a Create is under way. */
  readonly #creating = new Map<string, Container>();

  constructor(options: PodOptions) {
    this.options = options;
    this.sandbox = options.startSandbox({
      onEvent: (event) => this.#onEvent(event),
      onLost: () => this.#onLost(),
    });
  }

  get events(): EventQueue {
    return this.options.events;
  }

  get logger(): Logger {
    return this.options.logger;
  }

  get timeline(): Timeline {
    return this.options.timeline;
  }

  get containers(): readonly Container[] {
    return [...this.#containers.values()];
  }

  get isEmpty(): boolean {
    return this.#containers.size === 0 && this.#creating.size === 0;
  }

  /** @throws SquibError `not-found` in runc's words; `unimplemented` for an exec. */
  container(id: string, execId = ''): Container {
    const container = this.#containers.get(id);
    if (container === undefined) throw new SquibError('not-found', 'container not created');
    if (execId !== '') throw new SquibError('not-found', `process does not exist ${execId}`);
    return container;
  }

  /**
   * Makes a container under an id that nobody else has; it is known to the other verbs when
   * `make` has resolved, and leaves nothing behind when that fails.
   */
  async create(
    request: CreateTaskRequest,
    make: (container: Container) => Promise<void>,
  ): Promise<Container> {
    const { id } = request;
    if (this.#containers.has(id) || this.#creating.has(id)) {
      throw new SquibError('already-exists', `container ${id} already exists`);
    }
    if (this.#containers.size + this.#creating.size >= CONTAINERS_MAX) {
      throw new SquibError('resource-exhausted', `a pod has at most ${CONTAINERS_MAX} containers`);
    }
    const container = new Container(request);
    const letExit = container.holdExit();
    this.#creating.set(id, container);
    try {
      await make(container);
      this.#containers.set(id, container);
      return container;
    } catch (thrown) {
      await container.release().catch((failure) => this.logger.error(describe(failure)));
      throw thrown;
    } finally {
      this.#creating.delete(id);
      letExit();
    }
  }

  forget(container: Container): void {
    this.#containers.delete(container.id);
  }

  /** Whether the machine is of no use once this container is gone. */
  isLast(container: Container): boolean {
    return container.id === this.options.id && this.#containers.size === 1 && this.#creating.size === 0;
  }

  /** Reports an exit once its output is delivered. */
  async exited(container: Container, status: number, atMs: number): Promise<void> {
    if (container.exit !== undefined) return;
    const first = !container.ending;
    await container.end({ status, atMs });
    if (!first) return;
    this.events.publish(TaskExit, {
      containerId: container.id,
      id: container.id,
      pid: this.sandbox.pidNow,
      exitStatus: status,
      exitedAt: timestampOfMillis(atMs),
    });
  }

  #onEvent(event: Event): void {
    const { exit, outOfMemory } = event;
    if (exit !== undefined) {
      this.timeline.mark('exit');
      const container = this.#containers.get(exit.container) ?? this.#creating.get(exit.container);
      const atMs = exit.timeSeconds * 1000 + Math.floor(exit.timeNanos / 1e6);
      if (container === undefined || exit.exec !== '') {
        this.logger.warn('exit of an unknown process', { container_id: exit.container });
        return;
      }
      void this.exited(container, exit.status, atMs);
    }
    if (outOfMemory !== undefined && this.#containers.has(outOfMemory.container)) {
      this.events.publish(TaskOOM, { containerId: outOfMemory.container });
    }
  }

  /** With the machine gone every process is dead, whatever it was doing. */
  #onLost(): void {
    for (const container of this.containers) void this.exited(container, STATUS_KILLED, Date.now());
  }
}
