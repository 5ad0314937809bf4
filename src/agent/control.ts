import { describe, SquibError } from '../base/errors.ts';
import { type Call, ServerConnection } from '../ttrpc/server-connection.ts';
import type { MuxStream, StreamSink } from '../vsock/stream.ts';

/** What waits for the host's credit on one control connection; beyond it the host does not read. */
const BACKLOG_BYTES_MAX = 8 << 20;
/** No request is larger: a container's spec is tens of kilobytes. */
const REQUEST_BYTES_MAX = 1 << 20;

/** One ttrpc connection on the control port. */
export class ControlStream implements StreamSink {
  readonly #stream: MuxStream;
  readonly #connection: ServerConnection;
  #backlog: Uint8Array[] = [];
  #waiting = 0;

  constructor(stream: MuxStream, call: (call: Call) => void, log: (text: string) => void) {
    this.#stream = stream;
    this.#connection = new ServerConnection({
      send: (bytes) => this.#send(bytes),
      call: (incoming) => {
        try {
          call(incoming);
        } catch (thrown) {
          if (!(thrown instanceof SquibError)) log(`${incoming.method}: ${describe(thrown)}`);
          throw thrown;
        }
      },
      dataBytesMax: REQUEST_BYTES_MAX,
    });
  }

  opened(): void {}

  data(bytes: Uint8Array): void {
    try {
      this.#connection.receive(bytes);
      this.#stream.consumed(bytes.length);
    } catch {
      // Its protocol is broken; the connection is closed already.
      this.#stream.reset('failed');
    }
  }

  credit(): void {
    while (this.#backlog.length > 0) {
      const bytes = this.#backlog[0] as Uint8Array;
      const sent = this.#stream.write(bytes);
      this.#waiting -= sent;
      if (sent < bytes.length) {
        this.#backlog[0] = bytes.subarray(sent);
        return;
      }
      this.#backlog.shift();
    }
  }

  end(): void {
    this.#connection.close();
    if (this.#stream.state === 'half-closed-remote') this.#stream.shutdown();
  }

  reset(): void {
    this.#connection.close();
    this.#backlog = [];
  }

  #send(bytes: Uint8Array): void {
    if (this.#stream.state !== 'open') return;
    const sent = this.#backlog.length === 0 ? this.#stream.write(bytes) : 0;
    if (sent === bytes.length) return;
    this.#backlog.push(bytes.subarray(sent));
    this.#waiting += bytes.length - sent;
    if (this.#waiting > BACKLOG_BYTES_MAX) {
      this.reset();
      this.#stream.reset('exhausted');
    }
  }
}
