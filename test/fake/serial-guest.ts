import type { Duplex } from 'node:stream';
import { SquibError } from '../../src/base/errors.ts';
import { HostStream } from '../../src/vsock/host-stream.ts';
import { Mux } from '../../src/vsock/mux.ts';
import type { StreamSink } from '../../src/vsock/stream.ts';
import { WireWriter } from '../../src/vsock/wire-writer.ts';

/** Serves a port of the fake guest; the stream is open. */
export type PortHandler = (stream: Duplex) => void;

/** The guest's end of a serial stream in Node, for tests of the host: ports in, Duplexes out. */
export class SerialGuest {
  readonly ports = new Map<number, PortHandler>();
  readonly #mux: Mux;
  /** What broke the connection, if anything did. */
  failure: unknown;

  constructor(wire: Duplex, options: { window?: number } = {}) {
    const writer = new WireWriter(wire, () => wire.destroy());
    this.#mux = new Mux(
      'guest',
      {
        send: (frame) => writer.send(frame),
        ready: () => {},
        accept: (stream) => {
          const handler = this.ports.get(stream.port);
          if (handler === undefined) return undefined;
          let taken: StreamSink | undefined;
          const duplex = new HostStream(
            {
              writer,
              open: (_, sink) => {
                taken = sink;
                return stream;
              },
              errorOf: (port, reason) =>
                new SquibError('aborted', `guest's stream on port ${port}: ${reason}`),
            },
            stream.port,
          );
          duplex.on('error', () => {});
          process.nextTick(handler, duplex);
          return taken;
        },
      },
      options,
    );
    wire.on('data', (chunk: Buffer) => setImmediate(() => this.#receive(chunk, wire)));
    wire.on('error', () => {});
    wire.on('close', () => this.#mux.close());
  }

  #receive(chunk: Buffer, wire: Duplex): void {
    if (wire.destroyed) return;
    try {
      this.#mux.receive(chunk);
    } catch (thrown) {
      this.failure ??= thrown;
      wire.destroy();
    }
  }

  /** The agent is up. */
  hello(): void {
    this.#mux.hello();
  }
}
