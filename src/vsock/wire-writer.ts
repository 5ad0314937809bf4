import type { Duplex } from 'node:stream';
import { BoundedQueue } from '../base/bounded-queue.ts';
import { STREAMS_MAX } from './mux.ts';

/** DATA stops being put on the wire when this much waits there: a control frame waits behind it. */
const WIRE_DATA_BYTES_MAX = 131_072;

/** Frames owed to a peer that does not read; beyond it the peer is given up. */
export const REPLY_BACKLOG_BYTES_MAX = 1_048_576;

/** A stream with DATA to send. */
export interface DataSource {
  /** Goes before all that are not urgent. */
  readonly urgent: boolean;
  /** Puts at most one DATA frame on the wire. @returns whether it could go on at once. */
  sendFrame(wire: Duplex): boolean;
}

/**
 * Decides the order of frames on the host's wire: DATA in turn, one frame per stream, and only
 * while the wire takes it; everything else at once.
 */
export class WireWriter {
  readonly #wire: Duplex;
  readonly #overflow: () => void;
  readonly #urgent = new BoundedQueue<DataSource>(STREAMS_MAX, 'urgent streams with data to send');
  readonly #bulk = new BoundedQueue<DataSource>(STREAMS_MAX, 'streams with data to send');
  readonly #waiting = new Set<DataSource>();
  #pumping = false;
  #closed = false;

  /** @param overflow is called when the peer makes us answer and reads nothing. */
  constructor(wire: Duplex, overflow: () => void) {
    this.#wire = wire;
    this.#overflow = overflow;
    wire.on('drain', () => this.#pump());
  }

  /** Puts a whole frame on the wire now. */
  send(frame: Uint8Array): void {
    if (this.#closed) return;
    this.#wire.write(frame);
    if (this.#wire.writableLength > WIRE_DATA_BYTES_MAX + REPLY_BACKLOG_BYTES_MAX) this.#overflow();
  }

  /** Lets a stream send when its turn comes. */
  wants(source: DataSource): void {
    if (this.#closed) return;
    this.#enqueue(source);
    this.#pump();
  }

  /** Sends nothing more. */
  close(): void {
    this.#closed = true;
    this.#urgent.clear();
    this.#bulk.clear();
    this.#waiting.clear();
  }

  #enqueue(source: DataSource): void {
    if (this.#waiting.has(source)) return;
    this.#waiting.add(source);
    (source.urgent ? this.#urgent : this.#bulk).push(source);
  }

  #pump(): void {
    if (this.#pumping || this.#waiting.size === 0) return;
    this.#pumping = true;
    this.#wire.cork();
    try {
      while (this.#wire.writableLength < WIRE_DATA_BYTES_MAX) {
        const source = this.#urgent.shift() ?? this.#bulk.shift();
        if (source === undefined) break;
        this.#waiting.delete(source);
        if (source.sendFrame(this.#wire)) this.#enqueue(source);
      }
    } finally {
      this.#wire.uncork();
      this.#pumping = false;
    }
  }
}
