import type { Duplex } from 'node:stream';
import { type ErrorCode, SquibError, toSquibError } from '../base/errors.ts';
import type { ResetReason } from './frame.ts';
import { type HostLink, HostStream } from './host-stream.ts';
import { Mux } from './mux.ts';
import { REPLY_BACKLOG_BYTES_MAX, WireWriter } from './wire-writer.ts';

export interface SerialHostOptions {
  /** Bytes that a stream receives before it grants more; default WINDOW_BYTES_DEFAULT. */
  readonly window?: number;
}

const RESETS: Readonly<Record<ResetReason, readonly [ErrorCode, string]>> = {
  cancelled: ['aborted', 'the guest cut it'],
  refused: ['not-found', 'nobody listens there'],
  exhausted: ['resource-exhausted', 'the guest has no room for it'],
  failed: ['internal', 'the guest failed to serve it'],
  unavailable: ['unavailable', 'the serial stream is gone'],
};

/**
 * The host's end of the serial stream over a Node Duplex, which it owns from `attach` on. It always
 * reads; what a stalled reader leaves is bounded by the windows.
 */
export class SerialHost {
  /** Resolves when the agent serves; rejects with `unavailable` if the wire ends before. */
  readonly ready: Promise<void>;
  /** Settles once, and never rejects: undefined after `close`, else why the wire is gone. */
  readonly closed: Promise<Error | undefined>;
  readonly #wire: Duplex;
  readonly #mux: Mux;
  readonly #link: HostLink;
  readonly #ready = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<Error | undefined>();
  /** Chunks not yet read: a wire may hand bytes over amid a write to it (an in-memory pair does). */
  readonly #inbox: Buffer[] = [];
  #busy = false;
  #over = false;
  #cause: Error | undefined;

  /** Takes the wire over and says HELLO; the guest may still be booting. */
  static attach(wire: Duplex, options: SerialHostOptions = {}): SerialHost {
    return new SerialHost(wire, options);
  }

  private constructor(wire: Duplex, options: SerialHostOptions) {
    this.#wire = wire;
    this.ready = this.#ready.promise;
    this.closed = this.#closed.promise;
    this.ready.catch(() => {});
    const writer = new WireWriter(wire, () => this.#finish(stuck()));
    const sink = {
      send: (frame: Uint8Array) => writer.send(frame),
      ready: () => this.#ready.resolve(),
      accept: () => undefined,
    };
    this.#mux = new Mux('host', sink, options);
    this.#link = {
      writer,
      open: (port, streamSink) => this.#mux.open(port, streamSink),
      errorOf: (port, reason) => this.#errorOf(port, reason),
    };
    wire.on('error', (cause) => this.#finish(gone('the serial stream broke', cause)));
    wire.on('end', () => this.#finish(gone('the guest ended the serial stream')));
    wire.on('close', () => this.#finish(gone('the serial stream was closed')));
    wire.on('data', (chunk: Buffer) => {
      this.#inbox.push(chunk);
      this.#drain();
    });
    this.#mux.hello();
  }

  /**
   * Opens a stream to a port of the guest; legal before `ready`. Data written before the guest has
   * accepted waits in the stream. The stream must be ended or destroyed by the caller, who also
   * sets the deadline for the guest's answer.
   * @throws SquibError `unavailable` when the wire is gone; `resource-exhausted` when STREAMS_MAX
   *   streams are open; `invalid-argument` for a port that is no u32 above 0.
   */
  connect(port: number): HostStream {
    const outer = this.#busy;
    this.#busy = true;
    try {
      return new HostStream(this.#link, port);
    } finally {
      this.#busy = outer;
      if (this.#inbox.length > 0) process.nextTick(() => this.#drain());
    }
  }

  /** Ends the wire, at which the guest powers off. Every stream fails with `unavailable`. Idempotent. */
  close(): void {
    this.#finish(undefined);
  }

  #drain(): void {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let chunk = this.#inbox.shift(); chunk && !this.#over; chunk = this.#inbox.shift()) {
        this.#mux.receive(chunk);
      }
    } catch (thrown) {
      this.#finish(toSquibError(thrown, 'internal'));
    } finally {
      this.#busy = false;
    }
  }

  #finish(cause: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#cause = cause;
    this.#link.writer.close();
    this.#mux.close();
    this.#wire.destroy();
    this.#ready.reject(this.#unavailable('the agent never answered'));
    this.#closed.resolve(cause);
  }

  #errorOf(port: number, reason: ResetReason): SquibError {
    const [code, what] = RESETS[reason];
    const message = `stream to port ${port} of the guest: ${what}`;
    return code === 'unavailable' ? this.#unavailable(message) : new SquibError(code, message);
  }

  #unavailable(message: string): SquibError {
    return new SquibError('unavailable', message, this.#cause && { cause: this.#cause });
  }
}

function gone(message: string, cause?: Error): SquibError {
  return new SquibError('unavailable', message, cause && { cause });
}

function stuck(): SquibError {
  return new SquibError(
    'data-loss',
    `serial stream: the guest reads nothing and is owed more than ${REPLY_BACKLOG_BYTES_MAX} bytes of answers`,
  );
}
