import { Duplex } from 'node:stream';
import { SquibError } from '../base/errors.ts';
import { HEADER_BYTES, type ResetReason } from './frame.ts';
import { CONTROL_PORT } from './mux.ts';
import { keepable, ReceiveQueue } from './receive-queue.ts';
import type { MuxStream, StreamSink } from './stream.ts';
import type { DataSource, WireWriter } from './wire-writer.ts';

/** What a HostStream needs of the SerialHost that it belongs to. */
export interface HostLink {
  readonly writer: WireWriter;
  open(port: number, sink: StreamSink): MuxStream;
  /** What a stream dies of. */
  errorOf(port: number, reason: ResetReason): SquibError;
}

type Done = (error?: Error | null) => void;

/**
 * A stream of the wire as a Node Duplex. `end()` half-closes, `destroy()` resets, the peer's reset
 * is an 'error'; 'connect' comes when the guest has accepted. Bytes that came before the wire was
 * lost are still delivered, unless a write fails first.
 */
export class HostStream extends Duplex implements DataSource {
  readonly urgent: boolean;
  readonly #link: HostLink;
  readonly #stream: MuxStream;
  readonly #received = new ReceiveQueue();
  /** Node asked for data and has not got any. */
  #wanted = false;
  #peerEnded = false;
  /** Why the stream is gone; set while received bytes still wait for their reader. */
  #lost: SquibError | undefined;
  /** Written by the program and not yet on the wire. */
  #out: Buffer[] = [];
  #outHead = 0;
  #outOffset = 0;
  #outBytes = 0;
  #outDone: Done | undefined;
  #finalDone: Done | undefined;

  constructor(link: HostLink, port: number) {
    // What waits for the reader waits in #received, where small pieces are joined.
    super({ allowHalfOpen: true, readableHighWaterMark: 1, decodeStrings: true });
    this.#link = link;
    this.urgent = port === CONTROL_PORT;
    this.#stream = link.open(port, {
      opened: () => this.#opened(),
      data: (bytes) => this.#data(bytes),
      credit: () => this.#offer(),
      end: () => this.#peerEnd(),
      reset: (reason) => this.#reset(reason),
    });
  }

  get port(): number {
    return this.#stream.port;
  }

  sendFrame(wire: Duplex): boolean {
    let left = Math.min(this.#stream.sendable, this.#outBytes);
    if (left === 0) return false;
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    this.#stream.claim(left, header, 0);
    wire.write(header);
    this.#outBytes -= left;
    while (left > 0) {
      const piece = this.#out[this.#outHead] as Buffer;
      const end = Math.min(piece.length, this.#outOffset + left);
      const part = piece.subarray(this.#outOffset, end);
      left -= part.length;
      this.#outOffset = end;
      if (end === piece.length) {
        this.#outHead++;
        this.#outOffset = 0;
      }
      // The program may reuse its buffers only once the wire has taken the last of them.
      if (this.#outBytes === 0 && left === 0) wire.write(part, this.#takeOutDone());
      else wire.write(part);
    }
    return this.#outBytes > 0 && this.#stream.sendable > 0;
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    this.#put([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: Done): void {
    this.#put(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: Done): void {
    if (this.#stream.state === 'opening') {
      this.#finalDone = done;
      return;
    }
    if (this.#stream.state !== 'closed') this.#stream.shutdown();
    done();
  }

  override _read(): void {
    this.#wanted = true;
    this.#deliver();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#stream.reset('cancelled');
    this.#received.clear();
    this.#out = [];
    this.#outBytes = 0;
    this.#finalDone = undefined;
    const outDone = this.#outDone;
    this.#outDone = undefined;
    done(error);
    outDone?.(
      error ?? new SquibError('canceled', `stream to port ${this.port}: destroyed before it was written`),
    );
  }

  #put(chunks: readonly Buffer[], done: Done): void {
    if (this.#lost !== undefined) {
      done(this.#lost);
      return;
    }
    this.#out = chunks.filter((chunk) => chunk.length > 0);
    this.#outHead = 0;
    this.#outOffset = 0;
    this.#outBytes = 0;
    for (const chunk of this.#out) this.#outBytes += chunk.length;
    if (this.#outBytes === 0) {
      done();
      return;
    }
    this.#outDone = done;
    this.#offer();
  }

  #offer(): void {
    if (this.#outBytes > 0 && this.#stream.sendable > 0) this.#link.writer.wants(this);
  }

  #takeOutDone(): Done {
    const done = this.#outDone;
    this.#outDone = undefined;
    this.#out = [];
    return (error) => done?.(error);
  }

  #opened(): void {
    const done = this.#finalDone;
    this.#finalDone = undefined;
    if (done !== undefined) {
      this.#stream.shutdown();
      done();
    }
    this.emit('connect');
    this.#offer();
  }

  #data(bytes: Uint8Array): void {
    if (this.destroyed) return;
    if (this.#wanted && this.#received.empty) this.#push(keepable(bytes));
    else this.#received.push(bytes);
  }

  #push(bytes: Buffer): void {
    this.#wanted = this.push(bytes);
    this.#stream.consumed(bytes.length);
  }

  #deliver(): void {
    while (this.#wanted) {
      const bytes = this.#received.shift();
      if (bytes === undefined) break;
      this.#push(bytes);
    }
    if (!this.#received.empty) return;
    if (this.#peerEnded) {
      if (this.#wanted) this.push(null);
      this.#wanted = false;
    } else if (this.#lost !== undefined) this.destroy(this.#lost);
  }

  #peerEnd(): void {
    this.#peerEnded = true;
    this.#deliver();
  }

  #reset(reason: ResetReason): void {
    const error = this.#link.errorOf(this.port, reason);
    const writing = this.#outDone !== undefined || this.#finalDone !== undefined;
    const unread = !this.#received.empty || this.readableLength > 0;
    if (reason !== 'unavailable' || writing || !(unread || this.#peerEnded)) {
      this.destroy(error);
      return;
    }
    this.#lost = error;
    // All that the peer had to send is here; nobody misses the other direction.
    if (this.readableEnded) this.destroy();
    else if (this.#peerEnded) this.once('end', () => this.destroy());
  }
}
