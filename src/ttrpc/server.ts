/** A ttrpc server on Node streams. The protocol itself is in server-connection.ts. */
import { once } from 'node:events';
import { createServer, type Server as Listener, type ListenOptions } from 'node:net';
import type { Duplex } from 'node:stream';
import { describe, SquibError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Decoder, Encoder } from './codec.ts';
import type { KeyValue } from './message.ts';
import { type Call, ServerConnection } from './server-connection.ts';

/** What a handler knows beside its request. */
export interface CallContext {
  readonly service: string;
  readonly method: string;
  readonly metadata: readonly KeyValue[];
  /**
   * Aborted when nobody waits for the answer any more: the connection closed (`unavailable`), or
   * the caller's time is over (`deadline-exceeded`).
   */
  readonly signal: AbortSignal;
}

/** A registered method; made by `unary` or `serverStream`. */
export interface Method {
  /** Answers the call. `writable` resolves when the peer has taken what was sent. */
  run(call: Call, context: CallContext, writable: () => Promise<void>): Promise<void>;
}

/** One message in, one out. What `handle` rejects with becomes the call's status. */
export function unary<Req, Res>(
  request: Decoder<Req>,
  response: Encoder<Res>,
  handle: (request: Req, context: CallContext) => Promise<NoInfer<Res>>,
): Method {
  return {
    run: async (call, context) => {
      call.reply(response.encode(await handle(request.decode(call.payload), context)));
    },
  };
}

/**
 * One message in, a stream out. The next item is asked for when the peer has taken the last, and
 * none any more once `context.signal` is aborted.
 */
export function serverStream<Req, Res>(
  request: Decoder<Req>,
  response: Encoder<Res>,
  handle: (request: Req, context: CallContext) => AsyncIterable<NoInfer<Res>>,
): Method {
  return {
    run: async (call, context, writable) => {
      if (!call.streaming)
        throw new SquibError('invalid-argument', `${call.service}/${call.method} answers with a stream`);
      for await (const item of handle(request.decode(call.payload), context)) {
        if (!call.open) return;
        call.send(response.encode(item));
        await writable();
      }
      call.end();
    },
  };
}

export interface ServerOptions {
  readonly logger: Logger;
  readonly callsMax?: number;
}

/** Connections at a time; containerd opens one, its tools one more each. */
const CONNECTIONS_MAX = 128;
/** What was answered may still reach a peer that reads, when the server closes. */
const CLOSE_FLUSH_MS = 1000;
/** Longest delay that a Node timer takes. */
const TIMER_MS_MAX = 0x7fff_ffff;

export class Server {
  readonly #options: ServerOptions;
  readonly #services = new Map<string, ReadonlyMap<string, Method>>();
  readonly #listeners = new Set<Listener>();
  readonly #connections = new Set<Connection>();
  #closed = false;

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  /** @throws SquibError already-exists if the service has been registered. */
  register(service: string, methods: Readonly<Record<string, Method>>): void {
    if (this.#services.has(service))
      throw new SquibError('already-exists', `ttrpc service ${service} is registered already`);
    this.#services.set(service, new Map(Object.entries(methods)));
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Serves one connected stream until either side closes it. Owns the stream from then on. */
  serve(wire: Duplex): void {
    if (this.#closed || this.#connections.size >= CONNECTIONS_MAX) {
      wire.on('error', () => {});
      wire.destroy();
      if (!this.#closed) this.#options.logger.warn(`ttrpc: more than ${CONNECTIONS_MAX} connections`);
      return;
    }
    const connection = new Connection(wire, this.#services, this.#options);
    this.#connections.add(connection);
    wire.once('close', () => this.#connections.delete(connection));
  }

  /** Listens where `net.Server.listen` can: a socket path, a descriptor. */
  async listen(where: ListenOptions | { readonly fd: number }): Promise<void> {
    if (this.#closed) throw new SquibError('failed-precondition', 'the ttrpc server is closed');
    const listener = createServer((socket) => this.serve(socket));
    this.#listeners.add(listener);
    listener.listen(where);
    try {
      await once(listener, 'listening');
    } catch (cause) {
      this.#listeners.delete(listener);
      throw new SquibError('unavailable', `cannot listen on ${JSON.stringify(where)}`, { cause });
    }
    listener.on('error', (error) => {
      this.#options.logger.error(`ttrpc: accepting failed: ${describe(error)}`);
    });
  }

  /**
   * Stops listening and ends all connections: open calls are aborted, answers that were given
   * still go out, for at most a second. Resolves when all sockets are closed; it does not wait
   * for handlers. Idempotent.
   */
  async close(): Promise<void> {
    this.#closed = true;
    const listeners = [...this.#listeners].map((listener) => {
      this.#listeners.delete(listener);
      return new Promise<void>((resolve) => {
        listener.close(() => resolve());
      });
    });
    const connections = [...this.#connections].map((connection) => connection.close());
    await Promise.all([...listeners, ...connections]);
  }
}

class Connection {
  readonly #wire: Duplex;
  readonly #services: ReadonlyMap<string, ReadonlyMap<string, Method>>;
  readonly #logger: Logger;
  readonly #core: ServerConnection;

  constructor(
    wire: Duplex,
    services: ReadonlyMap<string, ReadonlyMap<string, Method>>,
    options: ServerOptions,
  ) {
    this.#wire = wire;
    this.#services = services;
    this.#logger = options.logger;
    this.#core = new ServerConnection({
      send: (bytes) => this.#write(bytes),
      call: (call) => {
        void this.#run(call);
      },
      ...(options.callsMax === undefined ? {} : { callsMax: options.callsMax }),
    });
    wire.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    wire.on('drain', () => wire.resume());
    wire.on('error', (error) => this.#logger.debug(`ttrpc: ${describe(error)}`));
    // A peer that ended its side waits for no answer: containerd's does not half-close.
    wire.on('end', () => {
      this.#core.close();
      wire.end();
    });
    wire.on('close', () => this.#core.close());
  }

  close(): Promise<void> {
    this.#core.close();
    const wire = this.#wire;
    if (wire.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => wire.destroy(), CLOSE_FLUSH_MS);
      wire.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      wire.end(() => wire.destroy());
    });
  }

  #receive(chunk: Uint8Array): void {
    try {
      this.#core.receive(chunk);
    } catch (thrown) {
      this.#logger.warn(`ttrpc: connection ended: ${describe(thrown)}`);
      this.#wire.destroy();
    }
  }

  /** A peer that does not read its answers gets no more requests read. */
  #write(bytes: Uint8Array): void {
    if (this.#wire.writable && !this.#wire.write(bytes)) this.#wire.pause();
  }

  /** Never rejects: whatever goes wrong in a handler is the call's answer. */
  async #run(call: Call): Promise<void> {
    const abort = new AbortController();
    call.onClosed = () => abort.abort(new SquibError('unavailable', 'the ttrpc connection closed'));
    const timer = deadline(call, abort);
    try {
      const method = this.#find(call);
      const { service, metadata } = call;
      await method.run(call, { service, method: call.method, metadata, signal: abort.signal }, () =>
        this.#drained(abort.signal),
      );
    } catch (thrown) {
      if (call.open) call.fail(isAbort(thrown) && abort.signal.aborted ? abort.signal.reason : thrown);
    } finally {
      clearTimeout(timer);
    }
  }

  /** containerd tells a missing version of a service by this code. */
  #find(call: Call): Method {
    const method = this.#services.get(call.service)?.get(call.method);
    if (method !== undefined) return method;
    throw new SquibError('unimplemented', `${call.service}/${call.method} is not served here`);
  }

  async #drained(signal: AbortSignal): Promise<void> {
    if (this.#wire.writableNeedDrain && !signal.aborted) await once(this.#wire, 'drain', { signal });
  }
}

/** What Node's own functions throw when their signal is aborted; it hides why. */
function isAbort(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.name === 'AbortError';
}

function deadline(call: Call, abort: AbortController): NodeJS.Timeout | undefined {
  if (call.timeoutNanos <= 0) return undefined;
  const ms = Math.min(call.timeoutNanos / 1e6, TIMER_MS_MAX);
  return setTimeout(() => {
    abort.abort(new SquibError('deadline-exceeded', `${call.method}: the caller's time is over`));
  }, ms);
}
