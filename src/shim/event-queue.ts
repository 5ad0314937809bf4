import { connect } from 'node:net';
import { sleep, withDeadline } from '../base/deadline.ts';
import { describe, SquibError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Codec, Init } from '../proto/codec.ts';
import { EVENTS_METHODS, EVENTS_SERVICE, envelope, type ForwardRequest } from '../proto/events.ts';
import { timestampOfMillis } from '../proto/timestamp.ts';
import { Client } from '../ttrpc/client.ts';

/** The runc shim's figures: containerd's operators know how long a missed event may take. */
const QUEUE_MAX = 2048;
const ATTEMPTS_MAX = 5;
const ATTEMPT_MS = 5_000;
const BACKOFF_MS = 1_000;

export interface EventQueueOptions {
  /** Path of containerd's ttrpc socket (TTRPC_ADDRESS); '': events go nowhere. */
  readonly address: string;
  readonly namespace: string;
  readonly logger: Logger;
}

/**
 * Publishes task events to containerd one after the other, so that they arrive in the order in
 * which they were put. An event that fails ATTEMPTS_MAX times is dropped with a log line.
 */
export class EventQueue {
  readonly #options: EventQueueOptions;
  readonly #waiting: Init<ForwardRequest>[] = [];
  #client: Client | undefined;
  #working: Promise<void> | undefined;

  constructor(options: EventQueueOptions) {
    this.#options = options;
  }

  /** Never blocks and never fails: with QUEUE_MAX events waiting, the new one is dropped. */
  publish<T>(event: Codec<T>, value: Init<T>): void {
    const { namespace, logger, address } = this.#options;
    if (address === '') return;
    if (this.#waiting.length >= QUEUE_MAX) {
      logger.error('event dropped: the queue is full', { event: event.name });
      return;
    }
    const timestamp = timestampOfMillis(Date.now());
    this.#waiting.push({ envelope: envelope({ event, value, namespace, timestamp }) });
    this.#working ??= this.#work();
  }

  /** Resolves when nothing waits any more, or after `ms`. */
  async flush(ms: number): Promise<void> {
    const working = this.#working ?? Promise.resolve();
    await withDeadline(working, ms, 'publishing the last events').catch(() => {});
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
    this.#waiting.length = 0;
  }

  async #work(): Promise<void> {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      await this.#deliver(next);
      this.#waiting.shift();
    }
    this.#working = undefined;
  }

  async #deliver(request: Init<ForwardRequest>): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      try {
        await this.#forward(request);
        return;
      } catch (thrown) {
        const { logger } = this.#options;
        this.#client?.close();
        this.#client = undefined;
        const fields = { topic: request.envelope?.topic, attempt, error: describe(thrown) };
        if (attempt < ATTEMPTS_MAX) logger.info('event not delivered, will be tried again', fields);
        else logger.error('event dropped', fields);
      }
      if (attempt < ATTEMPTS_MAX) await sleep(BACKOFF_MS * attempt);
    }
  }

  async #forward(request: Init<ForwardRequest>): Promise<void> {
    const client = this.#client ?? (await this.#dial());
    this.#client = client;
    const { Forward } = EVENTS_METHODS;
    await client.call(EVENTS_SERVICE, 'Forward', Forward.request, Forward.response, request, {
      timeoutMs: ATTEMPT_MS,
      metadata: [{ key: 'containerd-namespace-ttrpc', value: this.#options.namespace }],
    });
  }

  #dial(): Promise<Client> {
    const { address } = this.#options;
    return new Promise((resolve, reject) => {
      const socket = connect(address);
      socket.once('error', (cause) => {
        reject(new SquibError('unavailable', `containerd's socket "${address}" is not there`, { cause }));
      });
      socket.once('connect', () => {
        socket.removeAllListeners('error');
        resolve(new Client(socket));
      });
    });
  }
}
