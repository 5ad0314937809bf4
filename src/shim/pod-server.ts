import { chmodSync, writeFileSync } from 'node:fs';
import type { Spec } from '../../oci/runtime-spec.ts';
import { withDeadline } from '../base/deadline.ts';
import { describe } from '../base/errors.ts';
import type { FifoLogger } from '../base/log-fifo.ts';
import { Server } from '../ttrpc/server.ts';
import type { Engine } from '../vmm/contract.ts';
import type { BootSource } from '../vmm/resource/boot-source.ts';
import { markClean } from './bundle.ts';
import type { Config } from './config.ts';
import { EventQueue } from './event-queue.ts';
import type { ShimFlags } from './flags.ts';
import { machineSize } from './plan/machine-size.ts';
import { Pod } from './pod.ts';
import type { RunDir } from './run-dir.ts';
import { Sandbox } from './sandbox.ts';
import { registerTaskService } from './task/service.ts';
import { Timeline } from './timeline.ts';

/** containerd dials at once; a shim that nobody dials was started in vain (a bad answer, a crash). */
const UNUSED_MS = 10_000;

/** Shutdown's own deadline at containerd is 3 s. */
const FLUSH_MS = 2_000;
const STOP_MS = 2_000;

export interface PodServerOptions {
  readonly flags: ShimFlags;
  readonly bundle: string;
  readonly runDir: RunDir;
  readonly address: string;
  readonly config: Config;
  readonly spec: Spec;
  readonly logger: FifoLogger;
  readonly eventsAddress: string;
  readonly engine: Engine;
  readonly boot: BootSource;
  readonly imageConverter: string;
}

/** One pod with the socket that containerd drives it by, and its orderly end. */
export class PodServer {
  readonly #options: PodServerOptions;
  readonly #server: Server;
  readonly #events: EventQueue;
  readonly #timeline = new Timeline();
  #pod: Pod | undefined;
  #ending: Promise<void> | undefined;

  constructor(options: PodServerOptions) {
    const { logger, flags, eventsAddress } = options;
    this.#options = options;
    this.#server = new Server({ logger });
    this.#events = new EventQueue({ address: eventsAddress, namespace: flags.namespace, logger });
  }

  /** Resolves when containerd can dial. */
  async listen(): Promise<void> {
    const { socket } = this.#options.runDir;
    await this.#server.listen({ path: socket });
    chmodSync(socket, 0o600);
  }

  /** containerd knows the address from now on. */
  answered(): void {
    this.#timeline.mark('answered');
  }

  /** Starts the VM, and knows the verbs; comes before `listen`. */
  boot(): void {
    const { flags, config, logger, address, imageConverter } = this.#options;
    const pod = new Pod({
      id: flags.id,
      address,
      scratchBytes: config.scratchMib * 2 ** 20,
      imageConverter,
      // There is no pausing yet: then "pause" is "never".
      commitBytesMax: config.commit === 'always' ? config.commitMaxMib * 2 ** 20 : undefined,
      events: this.#events,
      logger,
      timeline: this.#timeline,
      startSandbox: (hooks) => this.#startSandbox(hooks),
      shutdown: () => this.#shutdown(),
    });
    this.#pod = pod;
    registerTaskService(this.#server, pod);
    const unused = setInterval(() => {
      if (this.#server.connections === 0 && pod.isEmpty) void this.end('nobody uses this shim');
    }, UNUSED_MS);
    unused.unref();
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => void this.end(`received ${signal}`));
    }
  }

  #startSandbox(hooks: Pick<ConstructorParameters<typeof Sandbox>[0], 'onEvent' | 'onLost'>): Sandbox {
    const { flags, config, spec, engine, boot, logger, runDir } = this.#options;
    const machine = machineSize(spec, config, engine.capabilities.vcpusMax);
    const sandbox = new Sandbox({
      engine,
      vm: { id: flags.id, machine, boot },
      bootTimeoutMs: config.bootTimeoutMs,
      logger,
      timeline: this.#timeline,
      ...hooks,
    });
    sandbox.pid().then(
      (pid) => {
        runDir.record('vmm', pid);
        adjustOomScore(pid, spec.process?.oomScoreAdj ?? 0, logger);
      },
      // The verbs that need the VM report it.
      () => {},
    );
    return sandbox;
  }

  /** Shutdown with nothing left in the pod: the answer goes out, then the process ends. */
  async #shutdown(): Promise<void> {
    this.#ending ??= this.#tearDown(true);
    await this.#ending;
    this.#timeline.mark('shutdown');
    this.#options.logger.debug('timeline', { marks: this.#timeline });
    setImmediate(() => void this.#exit());
  }

  /**
   * The end of the process without containerd's wish: `delete` shall find no mark and report
   * status 137.
   */
  async end(reason: string): Promise<void> {
    if (this.#ending !== undefined) return;
    this.#options.logger.info('the shim ends', { reason });
    this.#ending = this.#tearDown(false);
    await this.#ending;
    await this.#exit();
  }

  async #tearDown(isClean: boolean): Promise<void> {
    const { logger, runDir, bundle } = this.#options;
    try {
      const pod = this.#pod;
      await withDeadline(pod?.sandbox.stop() ?? Promise.resolve(), STOP_MS, "the virtual machine's end");
      await Promise.all(pod?.containers.map((container) => container.release()) ?? []);
      await this.#events.flush(FLUSH_MS);
      this.#events.close();
      runDir.remove();
      if (isClean) markClean(bundle);
    } catch (thrown) {
      logger.error('the end of the pod left something for delete', { error: describe(thrown) });
    }
  }

  async #exit(): Promise<void> {
    await this.#server.close();
    await this.#options.logger.flush();
    process.exit(0);
  }
}

/** The VMM inherits containerd's -999 by way of the shim, but it is the workload. */
function adjustOomScore(pid: number, score: number, logger: FifoLogger): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch (thrown) {
    logger.info("the VMM's oom_score_adj stays as it is", { error: describe(thrown) });
  }
}
