/** The client's side of one call: what may come back on its stream, and how long it may take. */
import { SquibError } from '../base/errors.ts';
import { FLAG_NO_DATA, FLAG_REMOTE_CLOSED, FRAME_DATA, FRAME_DATA_BYTES_MAX, type Frame } from './frame.ts';
import { decodeResponse, type Response } from './message.ts';
import { errorOf } from './status.ts';

export interface ExchangeOptions {
  /** service/method, for messages. */
  readonly name: string;
  /** Whether the answer is a stream. */
  readonly streaming: boolean;
  /** Milliseconds until it fails with `deadline-exceeded`; 0: never. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** One message of the answer; a unary call gets exactly one before `done()`. */
  item(payload: Uint8Array): void;
  /** Once, and last: the answer is complete, or failed. */
  done(error?: unknown): void;
}

/** Longest delay that a Node timer takes: 24 days. */
const TIMER_MS_MAX = 0x7fff_ffff;

export class Exchange {
  readonly name: string;
  /** Its owner's: called once it is settled, before `done`. */
  onSettled: () => void = () => {};
  readonly #options: ExchangeOptions;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #canceled = () => this.settle(new SquibError('canceled', `${this.name} was given up`));
  #settled = false;

  constructor(options: ExchangeOptions) {
    this.name = options.name;
    this.#options = options;
    const { timeoutMs, signal } = options;
    if (timeoutMs > 0) {
      const late = () =>
        this.settle(new SquibError('deadline-exceeded', `${this.name}: no answer within ${timeoutMs} ms`));
      this.#timer = setTimeout(late, Math.min(timeoutMs, TIMER_MS_MAX));
    }
    signal?.addEventListener('abort', this.#canceled);
    if (signal?.aborted) queueMicrotask(this.#canceled);
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** Takes a response or data frame of this stream. */
  take(frame: Frame): void {
    if (this.#settled) return;
    try {
      if (frame.discarded > 0)
        throw new SquibError(
          'resource-exhausted',
          `${this.name}: the answer has ${frame.discarded} bytes, the limit is ${FRAME_DATA_BYTES_MAX}`,
        );
      if (frame.type === FRAME_DATA) this.#takeData(frame);
      else this.#takeResponse(frame);
    } catch (thrown) {
      this.settle(thrown);
    }
  }

  /** Ends it, as done or with an error; the first time counts. */
  settle(error?: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    clearTimeout(this.#timer);
    this.#options.signal?.removeEventListener('abort', this.#canceled);
    this.onSettled();
    this.#options.done(error);
  }

  #takeData(frame: Frame): void {
    if (!this.#options.streaming)
      throw new SquibError('data-loss', `${this.name}: the peer answered a unary call with a stream`);
    if ((frame.flags & FLAG_NO_DATA) === 0) this.#options.item(frame.data);
    if ((frame.flags & FLAG_REMOTE_CLOSED) !== 0) this.settle();
  }

  /** A stream may end with a response too; its payload, if any, is the last item. */
  #takeResponse(frame: Frame): void {
    const { status, payload } = this.#decode(frame);
    if (status !== undefined && status.code !== 0) throw errorOf(status);
    if (!this.#options.streaming || payload.length > 0) this.#options.item(payload);
    this.settle();
  }

  #decode(frame: Frame): Response {
    try {
      return decodeResponse(frame.data);
    } catch (cause) {
      throw new SquibError('data-loss', `${this.name}: ${frame.data.length} bytes are no ttrpc response`, {
        cause,
      });
    }
  }
}
