/** The items of a server's stream, between the wire that brings them and the loop that takes them. */
import { SquibError } from '../base/errors.ts';
import type { Decoder } from './codec.ts';

/**
 * What may wait for a slow reader: two of the largest messages, or some tens of thousands of
 * small ones.
 */
export const STREAM_BACKLOG_BYTES_MAX = 8 * 1024 * 1024;

/** What an item costs beside its bytes. */
const ITEM_OVERHEAD_BYTES = 128;

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/** Items come out in order, then the error once, then the end. */
export class StreamReader<T> implements AsyncIterableIterator<T, undefined> {
  readonly #name: string;
  readonly #decoder: Decoder<T>;
  readonly #giveUp: () => void;
  #items: Uint8Array[] = [];
  #backlog = 0;
  readonly #waiters: Waiter<T>[] = [];
  #done = false;
  #failure: { readonly error: unknown } | undefined;

  /** @param giveUp is called when the reader leaves early. */
  constructor(name: string, decoder: Decoder<T>, giveUp: () => void) {
    this.#name = name;
    this.#decoder = decoder;
    this.#giveUp = giveUp;
  }

  /** @throws SquibError resource-exhausted if too much waits already. */
  push(payload: Uint8Array): void {
    const cost = payload.length + ITEM_OVERHEAD_BYTES;
    if (this.#backlog + cost > STREAM_BACKLOG_BYTES_MAX)
      throw new SquibError(
        'resource-exhausted',
        `${this.#name}: ${this.#items.length} messages wait to be read; read faster`,
      );
    this.#backlog += cost;
    this.#items.push(payload);
    this.#serve();
  }

  finish(error?: unknown): void {
    this.#done = true;
    if (error !== undefined) this.#failure = { error };
    this.#serve();
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#serve();
    });
  }

  /** Called by a loop that is left; what still comes is dropped. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.#items = [];
    this.#failure = undefined;
    this.#done = true;
    this.#giveUp();
    this.#serve();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #serve(): void {
    while (this.#waiters.length > 0 && (this.#items.length > 0 || this.#done)) {
      const waiter = this.#waiters.shift() as Waiter<T>;
      const item = this.#items.shift();
      if (item !== undefined) this.#hand(waiter, item);
      else if (this.#failure !== undefined) {
        waiter.reject(this.#failure.error);
        this.#failure = undefined;
      } else waiter.resolve({ done: true, value: undefined });
    }
  }

  #hand(waiter: Waiter<T>, item: Uint8Array): void {
    this.#backlog -= item.length + ITEM_OVERHEAD_BYTES;
    try {
      waiter.resolve({ done: false, value: this.#decoder.decode(item) });
    } catch (cause) {
      waiter.reject(new SquibError('data-loss', `${this.#name}: a message does not decode`, { cause }));
      this.#items = [];
      this.#done = true;
      this.#giveUp();
    }
  }
}
