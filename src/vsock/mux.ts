import { SquibError } from '../base/errors.ts';
import { breach, type ControlFrame, encodeControl, PROTOCOL_VERSION, WINDOW_BYTES_MAX } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { MuxStream, type StreamLink, type StreamSink } from './stream.ts';

/** Which end of the wire; the host opens odd ids, the guest even ones. */
export type Side = 'host' | 'guest';

/** Port of the agent's control service, whose data goes first. */
export const CONTROL_PORT = 1;

/** Live streams per opener: three per process for 340 processes. */
export const STREAMS_MAX = 1024;

/** The host's window; a guest passes its own, smaller one. Chosen by bench/stream. */
export const WINDOW_BYTES_DEFAULT = 262_144;

const ID_MAX = 0xffff_ffff;

/** What a Mux tells its owner and asks of it. */
export interface MuxSink {
  /** Bytes for the wire, in order; the callee owns them from then on. */
  send(frame: Uint8Array): void;
  /** The peer's HELLO arrived. At the guest again for every host that takes over an old guest. */
  ready(): void;
  /** The peer opens `stream.port`; nothing may be sent before this returns. undefined: refused. */
  accept(stream: MuxStream): StreamSink | undefined;
}

/** One end of the serial stream: bytes in, events out, no I/O. docs/protocol/serial-stream.md. */
export class Mux {
  readonly #side: Side;
  readonly #sink: MuxSink;
  readonly #window: number;
  readonly #reader: FrameReader;
  readonly #link: StreamLink;
  readonly #streams = new Map<number, MuxStream>();
  #life: 'silent' | 'ready' | 'dead' = 'silent';
  /** Next id of ours, and the least that the peer may open next. */
  #nextId: number;
  #peerNextId: number;
  #receiving = false;
  #ownStreams = 0;
  #peerStreams = 0;
  /** Receives the payload under way; undefined: skipped. */
  #receiver: MuxStream | undefined;

  /**
   * @param options.window bytes that a stream receives before it grants more, unless its sink says
   *   otherwise; 0 to WINDOW_BYTES_MAX.
   */
  constructor(side: Side, sink: MuxSink, options: { readonly window?: number } = {}) {
    this.#side = side;
    this.#sink = sink;
    this.#window = checkedWindow(options.window ?? WINDOW_BYTES_DEFAULT);
    this.#nextId = side === 'host' ? 1 : 2;
    this.#peerNextId = side === 'host' ? 2 : 1;
    this.#reader = new FrameReader({
      control: (frame) => this.#control(frame),
      dataBegin: (stream, length) => this.#dataBegin(stream, length),
      data: (bytes) => this.#receiver?.data(bytes),
    });
    this.#link = {
      send: (frame) => this.#sink.send(frame),
      forget: (stream) => this.#forget(stream),
    };
  }

  /** Sends our HELLO; once, before anything else. */
  hello(): void {
    this.#sink.send(encodeControl({ type: 'hello', version: PROTOCOL_VERSION }));
  }

  /**
   * Takes what came from the wire, cut anywhere. Not to be called from a sink's callback.
   * @throws SquibError `data-loss` when the peer breaks the protocol; `failed-precondition` on a
   *   connection that is dead. Call `close` then.
   */
  receive(chunk: Uint8Array): void {
    if (this.#life === 'dead' || this.#receiving) {
      const why = this.#receiving ? 'a sink fed it from a callback' : 'it is closed';
      throw new SquibError('failed-precondition', `serial stream takes no bytes: ${why}`);
    }
    this.#receiving = true;
    try {
      this.#reader.feed(chunk);
    } catch (thrown) {
      this.#life = 'dead';
      throw thrown;
    } finally {
      this.#receiving = false;
    }
  }

  /**
   * Opens a stream to the peer's port; legal before `ready`. Data may be sent after `opened`.
   * @throws SquibError `unavailable` on a dead connection; `resource-exhausted` when STREAMS_MAX
   *   streams are open or the ids are used up; `invalid-argument` for a port that is no u32 above 0.
   */
  open(port: number, sink: StreamSink): MuxStream {
    if (this.#life === 'dead')
      throw new SquibError('unavailable', `cannot open port ${port}: the wire is gone`);
    if (!(port >= 1 && port <= ID_MAX && port === Math.floor(port))) {
      throw new SquibError('invalid-argument', `cannot open port ${port}: expected 1 to ${ID_MAX}`);
    }
    if (this.#ownStreams >= STREAMS_MAX || this.#nextId > ID_MAX) {
      throw new SquibError(
        'resource-exhausted',
        `cannot open port ${port}: ${this.#ownStreams} streams are open`,
      );
    }
    const id = this.#nextId;
    const window = checkedWindow(sink.window ?? this.#window);
    const stream = new MuxStream(this.#link, sink, { id, port, granted: window, credit: 0 });
    this.#nextId += 2;
    this.#ownStreams++;
    this.#streams.set(id, stream);
    this.#sink.send(encodeControl({ type: 'open', stream: id, port, window }));
    return stream;
  }

  /** The wire is gone: every stream is reset as `unavailable`, nothing more is sent. Idempotent. */
  close(): void {
    this.#life = 'dead';
    this.#loseAll();
  }

  #loseAll(): void {
    for (const stream of [...this.#streams.values()]) stream.lost();
  }

  #control(frame: ControlFrame): void {
    if (this.#life === 'dead') return;
    if (frame.type === 'hello') this.#hello();
    else if (this.#life === 'silent') throw breach(`peer sent ${frame.type} before HELLO`);
    else if (frame.type === 'open') this.#open(frame.stream, frame.port, frame.window);
    else this.#find(frame.stream)?.control(frame);
  }

  #hello(): void {
    if (this.#life === 'ready') {
      if (this.#side === 'host') throw breach('guest sent a second HELLO');
      this.hello();
      this.#peerNextId = 1;
      this.#loseAll();
    }
    this.#life = 'ready';
    this.#sink.ready();
  }

  #open(id: number, port: number, credit: number): void {
    if (id < this.#peerNextId || (id - this.#peerNextId) % 2 !== 0) {
      throw breach(`peer opened stream ${id}, expected ${this.#peerNextId} or a later one of its parity`);
    }
    this.#peerNextId = id + 2;
    const stream = new MuxStream(this.#link, REFUSED, { id, port, granted: this.#window, credit });
    this.#streams.set(id, stream);
    this.#peerStreams++;
    const full = this.#peerStreams > STREAMS_MAX;
    const sink = full ? undefined : this.#sink.accept(stream);
    if (sink === undefined) stream.reset(full ? 'exhausted' : 'refused');
    else if (stream.state !== 'closed') stream.accepted(sink, checkedWindow(sink.window ?? this.#window));
  }

  /** Before HELLO no stream is open, so that DATA is a breach of its stream then. */
  #dataBegin(id: number, length: number): void {
    this.#receiver = this.#life === 'dead' ? undefined : this.#find(id);
    this.#receiver?.dataBegin(length);
  }

  /** The live stream; undefined for one that is gone. @throws breach for one that never was. */
  #find(id: number): MuxStream | undefined {
    const stream = this.#streams.get(id);
    if (stream !== undefined) return stream;
    const next = this.#isOwn(id) ? this.#nextId : this.#peerNextId;
    if (id >= next) throw breach(`peer sent a frame on stream ${id}, which was never opened`);
    return undefined;
  }

  #isOwn(id: number): boolean {
    return id % 2 === this.#nextId % 2;
  }

  #forget(stream: MuxStream): void {
    if (!this.#streams.delete(stream.id)) return;
    if (this.#isOwn(stream.id)) this.#ownStreams--;
    else this.#peerStreams--;
  }
}

/** Stands in until `accept` has given the real sink; a stream that is refused never calls it. */
const REFUSED: StreamSink = {
  opened: () => {},
  data: () => {},
  credit: () => {},
  end: () => {},
  reset: () => {},
};

function checkedWindow(bytes: number): number {
  if (bytes >= 0 && bytes <= WINDOW_BYTES_MAX && bytes === Math.floor(bytes)) return bytes;
  throw new SquibError('invalid-argument', `window of ${bytes} bytes, expected 0 to ${WINDOW_BYTES_MAX}`);
}
