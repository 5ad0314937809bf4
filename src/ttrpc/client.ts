/** A ttrpc client on any Node stream. docs/protocol/ttrpc.md is the specification. */
import type { Duplex } from 'node:stream';
import { SquibError } from '../base/errors.ts';
import type { Decoder, Encoder } from './codec.ts';
import { Exchange } from './exchange.ts';
import {
  encodeFrame,
  FLAG_REMOTE_CLOSED,
  FRAME_DATA,
  FRAME_DATA_BYTES_MAX,
  FRAME_REQUEST,
  FRAME_RESPONSE,
  type Frame,
  FrameDecoder,
} from './frame.ts';
import { encodeRequest, type KeyValue } from './message.ts';
import { StreamReader } from './stream-reader.ts';

export interface CallOptions {
  /**
   * How long the answer may take, in milliseconds; told to the server too. 0: without end.
   * Default: CALL_TIMEOUT_MS for `call`, 0 for `stream`.
   */
  readonly timeoutMs?: number;
  /** Gives the call up: it rejects with `canceled`. The protocol cannot tell the server. */
  readonly signal?: AbortSignal;
  readonly metadata?: readonly KeyValue[];
}

/** A call without a stated deadline gets this one: no wait is endless by oversight. */
export const CALL_TIMEOUT_MS = 10_000;

/** Calls under way at a time, those that wait for the wire included. */
export const CLIENT_CALLS_MAX = 1024;

/** Stream ids are 32 bits and never come back. */
const STREAM_ID_MAX = 0xffff_ffff;

export class Client {
  /** Resolves, and never rejects, when the connection is gone: why, or undefined after `close`. */
  readonly closed: Promise<SquibError | undefined>;
  readonly #wire: Duplex;
  readonly #decoder = new FrameDecoder();
  readonly #exchanges = new Map<number, Exchange>();
  /** Requests that wait until the wire takes more, in order. */
  readonly #waiting = new Map<Exchange, () => void>();
  readonly #settleClosed: (reason: SquibError | undefined) => void;
  #lastStream = -1;
  #ended: SquibError | undefined;

  /** Owns the wire from then on. */
  constructor(wire: Duplex) {
    this.#wire = wire;
    const { promise, resolve } = Promise.withResolvers<SquibError | undefined>();
    this.closed = promise;
    this.#settleClosed = resolve;
    wire.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    wire.on('drain', () => this.#flush());
    wire.on('error', (cause) => this.#end(unavailable('the ttrpc connection failed', cause)));
    wire.on('end', () => this.#end(unavailable('the peer closed the ttrpc connection')));
    wire.on('close', () => this.#end(unavailable('the ttrpc connection closed')));
  }

  /**
   * One message out, one in.
   * @throws SquibError with the code of the peer's status; `deadline-exceeded`; `canceled`;
   * `unavailable` if the connection is or goes down; `resource-exhausted` for a message over
   * 4 MiB or too many calls; `data-loss` for an answer that does not decode.
   */
  call<Req, Res>(
    service: string,
    method: string,
    request: Encoder<Req>,
    response: Decoder<Res>,
    value: NoInfer<Req>,
    options: CallOptions = {},
  ): Promise<Res> {
    const { promise, resolve, reject } = Promise.withResolvers<Res>();
    const name = `${service}/${method}`;
    const timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
    let payload: Uint8Array | undefined;
    const exchange = new Exchange({
      name,
      streaming: false,
      timeoutMs,
      signal: options.signal,
      item: (bytes) => {
        payload = bytes;
      },
      done: (error) => {
        if (payload === undefined) reject(error);
        else settleDecoded({ name, response, payload, resolve, reject });
      },
    });
    this.#start(exchange, 0, () =>
      encodeRequest({ service, method, payload: request.encode(value), ...wireOptions(options, timeoutMs) }),
    );
    return promise;
  }

  /**
   * One message out, a stream in; the request goes out at once. The stream throws as `call`
   * rejects. Leaving the loop gives it up: what still comes is dropped. An item that is not
   * taken waits in memory; a stream whose reader falls too far behind ends with
   * `resource-exhausted`, since holding the wire back would stop the other calls.
   */
  stream<Req, Res>(
    service: string,
    method: string,
    request: Encoder<Req>,
    response: Decoder<Res>,
    value: NoInfer<Req>,
    options: CallOptions = {},
  ): AsyncIterableIterator<Res, undefined> {
    const name = `${service}/${method}`;
    const timeoutMs = options.timeoutMs ?? 0;
    const reader = new StreamReader<Res>(name, response, () => exchange.settle());
    const exchange = new Exchange({
      name,
      streaming: true,
      timeoutMs,
      signal: options.signal,
      item: (bytes) => reader.push(bytes),
      done: (error) => reader.finish(error),
    });
    this.#start(exchange, FLAG_REMOTE_CLOSED, () =>
      encodeRequest({ service, method, payload: request.encode(value), ...wireOptions(options, timeoutMs) }),
    );
    return reader;
  }

  /** Ends the connection; open calls reject with `unavailable`. Idempotent. */
  close(): void {
    this.#settleClosed(undefined);
    this.#end(unavailable('the ttrpc client was closed'));
  }

  #start(exchange: Exchange, flags: number, encode: () => Uint8Array): void {
    try {
      if (this.#ended !== undefined) throw this.#ended;
      if (this.#exchanges.size + this.#waiting.size >= CLIENT_CALLS_MAX)
        throw new SquibError(
          'resource-exhausted',
          `${CLIENT_CALLS_MAX} calls are under way on this connection`,
        );
      const data = encode();
      if (data.length > FRAME_DATA_BYTES_MAX)
        throw new SquibError(
          'resource-exhausted',
          `${exchange.name}: the request has ${data.length} bytes, the limit is ${FRAME_DATA_BYTES_MAX}`,
        );
      exchange.onSettled = () => this.#waiting.delete(exchange);
      this.#waiting.set(exchange, () => this.#send(exchange, flags, data));
      this.#flush();
    } catch (thrown) {
      exchange.settle(thrown);
    }
  }

  /** Requests get their stream ids in the order in which they go out: the peer insists on it. */
  #send(exchange: Exchange, flags: number, data: Uint8Array): void {
    const stream = this.#lastStream + 2;
    if (stream > STREAM_ID_MAX) {
      this.#end(unavailable('the ttrpc connection has used up its stream ids'));
      exchange.settle(this.#ended);
      return;
    }
    this.#lastStream = stream;
    this.#exchanges.set(stream, exchange);
    exchange.onSettled = () => this.#exchanges.delete(stream);
    this.#wire.write(encodeFrame({ stream, type: FRAME_REQUEST, flags }, data));
  }

  #flush(): void {
    for (const [exchange, send] of this.#waiting) {
      if (this.#wire.writableNeedDrain || this.#ended !== undefined) return;
      this.#waiting.delete(exchange);
      send();
    }
  }

  #receive(chunk: Uint8Array): void {
    try {
      for (const frame of this.#decoder.push(chunk)) {
        if (this.#ended !== undefined) return;
        this.#take(frame);
      }
    } catch (thrown) {
      this.#end(thrown as SquibError);
    }
  }

  /** An answer may come late, for a call that was given up; one for no call at all is a breach. */
  #take(frame: Frame): void {
    if (frame.type !== FRAME_RESPONSE && frame.type !== FRAME_DATA) return;
    if (frame.stream % 2 === 0 || frame.stream > this.#lastStream)
      throw new SquibError(
        'data-loss',
        `the peer answered on stream ${frame.stream}, which was never opened`,
      );
    this.#exchanges.get(frame.stream)?.take(frame);
  }

  #end(reason: SquibError): void {
    if (this.#ended !== undefined) return;
    this.#ended =
      reason.code === 'unavailable' ? reason : unavailable('the ttrpc connection was ended', reason);
    this.#settleClosed(reason);
    this.#wire.destroy();
    for (const exchange of [...this.#exchanges.values(), ...this.#waiting.keys()])
      exchange.settle(this.#ended);
  }
}

function wireOptions(
  options: CallOptions,
  timeoutMs: number,
): { readonly timeoutNanos: number; readonly metadata: readonly KeyValue[] } {
  return { timeoutNanos: Math.round(timeoutMs * 1e6), metadata: options.metadata ?? [] };
}

interface Decoding<T> {
  readonly name: string;
  readonly response: Decoder<T>;
  readonly payload: Uint8Array;
  resolve(value: T): void;
  reject(error: unknown): void;
}

function settleDecoded<T>({ name, response, payload, resolve, reject }: Decoding<T>): void {
  try {
    resolve(response.decode(payload));
  } catch (cause) {
    reject(new SquibError('data-loss', `${name}: the answer does not decode`, { cause }));
  }
}

function unavailable(message: string, cause?: unknown): SquibError {
  return new SquibError('unavailable', message, { cause });
}
