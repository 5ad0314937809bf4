import { SquibError } from '../base/errors.ts';
import {
  breach,
  type ControlFrame,
  encodeControl,
  FRAME_DATA_BYTES_MAX,
  HEADER_BYTES,
  putDataHeader,
  type ResetReason,
  WINDOW_BYTES_MAX,
} from './frame.ts';
import { canReceive, canWrite, type StreamState, stateAfterNews, stateAfterVerb } from './stream-state.ts';

/**
 * What a stream tells its owner, during `Mux.receive` or `Mux.close`. A call may use any verb of any
 * stream; it must not throw, since that kills the connection.
 */
export interface StreamSink {
  /** What this end receives before it grants more, in bytes; default: the Mux's window. */
  readonly window?: number;
  /** ACCEPT came: data may be sent. Only where this end opened the stream. */
  opened(): void;
  /** Bytes came; a view valid only during the call. Answer with `consumed` once they are used. */
  data(bytes: Uint8Array): void;
  /** `sendable` has grown. */
  credit(): void;
  /** The peer sends no more. */
  end(): void;
  /** The stream is gone in both directions, by the peer or because the wire is gone. */
  reset(reason: ResetReason): void;
}

/** What a stream needs of the Mux that holds it. */
export interface StreamLink {
  send(frame: Uint8Array): void;
  /** The stream is closed; its id need not be known any longer. */
  forget(stream: MuxStream): void;
}

/** How a stream begins; `granted` and `credit` are bytes. */
export interface StreamStart {
  readonly id: number;
  readonly port: number;
  /** What the peer may send at first. */
  readonly granted: number;
  /** What may be sent to the peer at first. */
  readonly credit: number;
}

/** One two-way stream of a Mux. */
export class MuxStream {
  readonly id: number;
  readonly port: number;
  readonly #link: StreamLink;
  #sink: StreamSink;
  #state: StreamState = 'opening';
  /** Bytes that the peer lets us send. */
  #credit: number;
  /** Bytes that the peer may still send. */
  #granted: number;
  /** Bytes consumed and not yet granted back. */
  #unreported = 0;
  /** `#unreported` goes back from here on: a quarter of the window, so that a sender at full speed
   * hears of it long before it runs dry, yet not for every read. */
  #reportAt: number;

  constructor(link: StreamLink, sink: StreamSink, start: StreamStart) {
    this.#link = link;
    this.#sink = sink;
    this.id = start.id;
    this.port = start.port;
    this.#credit = start.credit;
    this.#granted = start.granted;
    this.#reportAt = Math.max(1, start.granted >>> 2);
  }

  get state(): StreamState {
    return this.#state;
  }

  /** Bytes that one `claim` may take now: the credit, at most FRAME_DATA_BYTES_MAX, 0 if none may be sent. */
  get sendable(): number {
    return canWrite(this.#state) ? Math.min(this.#credit, FRAME_DATA_BYTES_MAX) : 0;
  }

  /**
   * Sends a copy of as many of the bytes as there is credit for.
   * @returns how many: the rest is to be offered again after `StreamSink.credit`.
   * @throws SquibError `failed-precondition` unless open for writing.
   */
  write(bytes: Uint8Array): number {
    this.#state = stateAfterVerb(this.#state, 'write', this.id);
    let sent = 0;
    while (sent < bytes.length && this.sendable > 0) {
      const n = Math.min(this.sendable, bytes.length - sent);
      const frame = new Uint8Array(HEADER_BYTES + n);
      this.claim(n, frame, 0);
      frame.set(bytes.subarray(sent, sent + n), HEADER_BYTES);
      this.#link.send(frame);
      sent += n;
    }
    return sent;
  }

  /**
   * Takes `n` bytes of the credit and writes a DATA header to header[at … at + HEADER_BYTES). The
   * caller then puts the header and exactly n bytes on the wire, before any other frame.
   * @throws SquibError `failed-precondition` unless open for writing; `invalid-argument` unless
   *   1 <= n <= sendable.
   */
  claim(n: number, header: Uint8Array, at: number): void {
    this.#state = stateAfterVerb(this.#state, 'write', this.id);
    if (!(n >= 1 && n <= this.sendable)) {
      throw new SquibError(
        'invalid-argument',
        `cannot send ${n} bytes on stream ${this.id}: 1 to ${this.sendable}`,
      );
    }
    this.#credit -= n;
    putDataHeader(header, at, this.id, n);
  }

  /** Reports that `n` received bytes need no room any more; the peer gets credit for them in lumps. */
  consumed(n: number): void {
    if (!canReceive(this.#state)) return;
    this.#unreported += n;
    if (this.#unreported < this.#reportAt) return;
    const delta = this.#unreported;
    this.#unreported = 0;
    this.#granted += delta;
    this.#link.send(encodeControl({ type: 'credit', stream: this.id, delta }));
  }

  /**
   * Half-closes: nothing more is sent.
   * @throws SquibError `failed-precondition` unless open for writing.
   */
  shutdown(): void {
    this.#move(stateAfterVerb(this.#state, 'shutdown', this.id));
    this.#link.send(encodeControl({ type: 'shutdown', stream: this.id }));
  }

  /** Cuts both directions at once; nothing more is reported. Does nothing on a closed stream. */
  reset(reason: ResetReason = 'cancelled'): void {
    if (this.#state === 'closed') return;
    this.#move(stateAfterVerb(this.#state, 'reset', this.id));
    this.#link.send(encodeControl({ type: 'reset', stream: this.id, reason }));
  }

  /** For the Mux, on the accepting end: `sink` takes over and ACCEPT is sent. */
  accepted(sink: StreamSink, window: number): void {
    this.#sink = sink;
    this.#granted = window;
    this.#reportAt = Math.max(1, window >>> 2);
    this.#move(stateAfterNews(this.#state, 'accept', this.id));
    this.#link.send(encodeControl({ type: 'accept', stream: this.id, window }));
  }

  /** For the Mux: a frame of the peer. @throws SquibError `data-loss` if it is a breach. */
  control(frame: ControlFrame): void {
    switch (frame.type) {
      case 'accept':
        this.#move(stateAfterNews(this.#state, 'accept', this.id));
        this.#credit = frame.window;
        this.#sink.opened();
        break;
      case 'credit':
        this.#move(stateAfterNews(this.#state, 'credit', this.id));
        this.#addCredit(frame.delta);
        break;
      case 'shutdown':
        this.#move(stateAfterNews(this.#state, 'peer-shutdown', this.id));
        this.#sink.end();
        break;
      case 'reset':
        this.#move(stateAfterNews(this.#state, 'peer-reset', this.id));
        this.#sink.reset(frame.reason);
        break;
    }
  }

  /** For the Mux: a DATA frame begins. @throws SquibError `data-loss` if it is a breach. */
  dataBegin(length: number): void {
    this.#state = stateAfterNews(this.#state, 'data', this.id);
    if (length > this.#granted) {
      throw breach(`DATA of ${length} bytes on stream ${this.id}, which has credit for ${this.#granted}`);
    }
    this.#granted -= length;
  }

  /** For the Mux: payload of the DATA frame under way. What comes after our reset is dropped. */
  data(bytes: Uint8Array): void {
    if (this.#state !== 'closed') this.#sink.data(bytes);
  }

  /** For the Mux: the wire is gone, or the peer forgot all streams. */
  lost(): void {
    if (this.#state === 'closed') return;
    this.#move('closed');
    this.#sink.reset('unavailable');
  }

  #addCredit(delta: number): void {
    if (this.#credit + delta > WINDOW_BYTES_MAX) {
      throw breach(
        `CREDIT of ${delta} on stream ${this.id}, which has ${this.#credit}: over ${WINDOW_BYTES_MAX}`,
      );
    }
    this.#credit += delta;
    if (canWrite(this.#state)) this.#sink.credit();
  }

  #move(next: StreamState): void {
    this.#state = next;
    if (next === 'closed') this.#link.forget(this);
  }
}
