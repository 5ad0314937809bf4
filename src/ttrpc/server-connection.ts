/**
 * The server's side of one ttrpc connection, without I/O: bytes go in by `receive`, come out by
 * `send`. docs/protocol/ttrpc.md is the specification. Runs in the guest agent, so it uses no
 * promises, timers or Node API; `server.ts` is the same for Node.
 */
import { SquibError } from '../base/errors.ts';
import {
  encodeFrame,
  FLAG_NO_DATA,
  FLAG_REMOTE_CLOSED,
  FLAG_REMOTE_OPEN,
  FRAME_DATA,
  FRAME_DATA_BYTES_MAX,
  FRAME_REQUEST,
  FRAME_RESPONSE,
  type Frame,
  FrameDecoder,
} from './frame.ts';
import { decodeRequest, encodeResponse, type KeyValue, type Request } from './message.ts';
import { statusOf } from './status.ts';

/**
 * Calls that one connection may have open at a time. containerd keeps one Wait per process open
 * and a pod has tens of processes; beyond this the peer is broken.
 */
export const CALLS_MAX = 1024;

/**
 * One call, open until `reply`, `fail` or `end`. Once its connection is closed all four and
 * `send` do nothing; using it after it was ended is a failed-precondition.
 */
export interface Call {
  readonly service: string;
  readonly method: string;
  /** The request message; its memory is the handler's. */
  readonly payload: Uint8Array;
  /** How long the caller waits, in nanoseconds; 0: without end. */
  readonly timeoutNanos: number;
  readonly metadata: readonly KeyValue[];
  /** The caller takes a stream: only then may `send` and `end` be used. */
  readonly streaming: boolean;
  /** False as soon as it was ended or the connection closed. */
  readonly open: boolean;
  /** Ends it with one message. */
  reply(payload: Uint8Array): void;
  /** Ends it with the status of that error. */
  fail(error: unknown): void;
  /** One message of a stream. */
  send(payload: Uint8Array): void;
  /** Ends a stream with OK. */
  end(): void;
  /** The call ended otherwise: the connection closed, or the caller broke the protocol. */
  onClosed?: (() => void) | undefined;
  /** The caller's next message. Without this handler a caller that sends one gets `unimplemented`. */
  onData?: ((payload: Uint8Array) => void) | undefined;
  /** The caller sends no more. */
  onHalfClosed?: (() => void) | undefined;
}

export interface ServerConnectionOptions {
  /** Takes bytes for the wire, in order; they are the callee's from then on. */
  send(bytes: Uint8Array): void;
  /** A call came in. May answer at once or at any later time; what it throws is the answer. */
  call(call: Call): void;
  readonly callsMax?: number;
  /** Largest request that is taken, if less than the protocol's 4 MiB. */
  readonly dataBytesMax?: number;
}

export class ServerConnection {
  readonly #options: ServerConnectionOptions;
  readonly #decoder: FrameDecoder;
  readonly #calls = new Map<number, OpenCall>();
  #lastStream = 0;
  #closed = false;

  constructor(options: ServerConnectionOptions) {
    this.#options = options;
    this.#decoder = new FrameDecoder(options.dataBytesMax);
  }

  /** How many calls are open. */
  get active(): number {
    return this.#calls.size;
  }

  /**
   * Takes the next bytes from the peer, in pieces of any size; the chunk may be reused afterwards.
   * @throws SquibError data-loss if the peer broke the protocol; the connection is closed then,
   * and the owner ends the transport.
   */
  receive(chunk: Uint8Array): void {
    if (this.#closed) return;
    try {
      for (const frame of this.#decoder.push(chunk)) {
        if (this.#closed) return;
        this.#take(frame);
      }
    } catch (thrown) {
      this.close();
      throw thrown;
    }
  }

  /** Ends all open calls by their `onClosed`. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.drop();
  }

  /** Frames of other types are left alone: a later version of the protocol may have them. */
  #take(frame: Frame): void {
    if (frame.type === FRAME_REQUEST) this.#takeRequest(frame);
    else if (frame.type === FRAME_DATA) this.#takeData(frame);
  }

  #takeRequest(frame: Frame): void {
    const { stream } = frame;
    if (stream % 2 === 0 || stream <= this.#lastStream)
      throw new SquibError(
        'data-loss',
        `request on stream ${stream}: an odd number above ${this.#lastStream} expected`,
      );
    this.#lastStream = stream;
    const call = this.#admit(frame);
    if (call === undefined) return;
    this.#calls.set(stream, call);
    try {
      this.#options.call(call);
    } catch (thrown) {
      if (call.open) call.fail(thrown);
    }
  }

  /** Undefined, with the reason sent, for what is too large, too much or no request. */
  #admit(frame: Frame): OpenCall | undefined {
    const emit: Emit = (type, flags, data) => this.#emit({ stream: frame.stream, type, flags }, data);
    try {
      if (frame.discarded > 0) throw oversized(frame, this.#dataMax);
      const max = this.#options.callsMax ?? CALLS_MAX;
      if (this.#calls.size >= max)
        throw new SquibError('resource-exhausted', `${max} calls are open on this connection already`);
      return new OpenCall(decodeRequestFrame(frame), frame.flags, emit);
    } catch (thrown) {
      emit(FRAME_RESPONSE, 0, encodeResponse({ status: statusOf(thrown), payload: EMPTY }));
      return undefined;
    }
  }

  #takeData(frame: Frame): void {
    if (frame.stream % 2 === 0 || frame.stream > this.#lastStream)
      throw new SquibError('data-loss', `data on stream ${frame.stream}, which was never opened`);
    // Data may cross with the answer that ended its stream.
    const call = this.#calls.get(frame.stream);
    if (call === undefined) return;
    try {
      if (frame.discarded > 0) throw oversized(frame, this.#dataMax);
      call.takeData(frame);
    } catch (thrown) {
      call.abort(thrown);
    }
  }

  get #dataMax(): number {
    return this.#options.dataBytesMax ?? FRAME_DATA_BYTES_MAX;
  }

  /** A response, and data that says so, ends its stream. */
  #emit(head: Pick<Frame, 'stream' | 'type' | 'flags'>, data: Uint8Array): void {
    if (head.type === FRAME_RESPONSE || (head.flags & FLAG_REMOTE_CLOSED) !== 0)
      this.#calls.delete(head.stream);
    this.#options.send(encodeFrame(head, data));
  }
}

type Emit = (type: number, flags: number, data: Uint8Array) => void;

class OpenCall implements Call {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  readonly timeoutNanos: number;
  readonly metadata: readonly KeyValue[];
  readonly streaming: boolean;
  onClosed?: (() => void) | undefined;
  onData?: ((payload: Uint8Array) => void) | undefined;
  onHalfClosed?: (() => void) | undefined;
  readonly #emit: Emit;
  /** `lost`: by the connection's end or the caller's breach, which the handler need not know. */
  #state: 'open' | 'ended' | 'lost' = 'open';
  #callerSends: boolean;

  constructor(request: Request, flags: number, emit: Emit) {
    this.service = request.service;
    this.method = request.method;
    this.payload = request.payload;
    this.timeoutNanos = request.timeoutNanos;
    this.metadata = request.metadata;
    this.streaming = (flags & (FLAG_REMOTE_CLOSED | FLAG_REMOTE_OPEN)) !== 0;
    this.#callerSends = (flags & FLAG_REMOTE_OPEN) !== 0;
    this.#emit = emit;
  }

  get open(): boolean {
    return this.#state === 'open';
  }

  reply(payload: Uint8Array): void {
    if (!this.#usable() || this.#tooLarge(payload)) return;
    this.#state = 'ended';
    this.#emit(FRAME_RESPONSE, 0, encodeResponse({ status: undefined, payload }));
  }

  fail(error: unknown): void {
    if (!this.#usable()) return;
    this.#state = 'ended';
    this.#emit(FRAME_RESPONSE, 0, encodeResponse({ status: statusOf(error), payload: EMPTY }));
  }

  send(payload: Uint8Array): void {
    if (this.#usable() && this.#isStream() && !this.#tooLarge(payload)) this.#emit(FRAME_DATA, 0, payload);
  }

  end(): void {
    if (!this.#usable() || !this.#isStream()) return;
    this.#state = 'ended';
    this.#emit(FRAME_DATA, FLAG_REMOTE_CLOSED | FLAG_NO_DATA, EMPTY);
  }

  /** The connection's side: the caller's next frame. */
  takeData(frame: Frame): void {
    if (!this.#callerSends)
      throw new SquibError('invalid-argument', `${this.method}: data after the caller closed its side`);
    if ((frame.flags & FLAG_NO_DATA) === 0) {
      if (this.onData === undefined)
        throw new SquibError('unimplemented', `${this.service}/${this.method} takes no stream of messages`);
      this.onData(frame.data);
    }
    if ((frame.flags & FLAG_REMOTE_CLOSED) === 0) return;
    this.#callerSends = false;
    this.onHalfClosed?.();
  }

  /** The connection's side: ends the call under its handler, with an answer. */
  abort(error: unknown): void {
    if (!this.open) return;
    this.fail(error);
    this.drop();
  }

  /** The connection's side: ends the call under its handler, without an answer. */
  drop(): void {
    this.#state = 'lost';
    this.onClosed?.();
  }

  /** False where the call was lost; then the handler's answer goes nowhere. */
  #usable(): boolean {
    if (this.#state === 'ended')
      throw new SquibError('failed-precondition', `${this.service}/${this.method} was answered already`);
    return this.open;
  }

  #isStream(): true {
    if (this.streaming) return true;
    throw new SquibError(
      'failed-precondition',
      `the caller of ${this.service}/${this.method} takes no stream`,
    );
  }

  #tooLarge(payload: Uint8Array): boolean {
    if (payload.length <= PAYLOAD_BYTES_MAX) return false;
    const error = `the answer has ${payload.length} bytes, the limit is ${PAYLOAD_BYTES_MAX}`;
    this.abort(new SquibError('resource-exhausted', error));
    return true;
  }
}

function decodeRequestFrame(frame: Frame): Request {
  if ((frame.flags & FLAG_REMOTE_CLOSED) !== 0 && (frame.flags & FLAG_REMOTE_OPEN) !== 0)
    throw new SquibError('invalid-argument', `request flags ${frame.flags} say both open and closed`);
  try {
    return decodeRequest(frame.data);
  } catch (cause) {
    throw new SquibError('invalid-argument', `${frame.data.length} bytes are no ttrpc request`, { cause });
  }
}

function oversized(frame: Frame, max: number): SquibError {
  return new SquibError('resource-exhausted', `a message of ${frame.discarded} bytes, the limit is ${max}`);
}

/** Leaves room in a frame for the response around a payload. */
const PAYLOAD_BYTES_MAX = FRAME_DATA_BYTES_MAX - 16;
const EMPTY = new Uint8Array(0);
