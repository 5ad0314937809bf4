import { encodeControl, HEADER_BYTES, putDataHeader } from '../../src/vsock/frame.ts';
import { FrameReader } from '../../src/vsock/frame-reader.ts';
import { Mux, type Side } from '../../src/vsock/mux.ts';
import type { MuxStream, StreamSink } from '../../src/vsock/stream.ts';

/** One line per frame: `open 1 port=5 window=100`, `data 1 "abc"`. */
export function frameLines(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  const reader = new FrameReader({
    control: ({ type, ...fields }) => {
      const { stream, ...rest } = { stream: 0, ...fields };
      const named = Object.entries(rest).map(([key, value]) => ` ${key}=${value}`);
      lines.push(`${type} ${stream}${named.join('')}`);
    },
    dataBegin: (stream, length) => lines.push(`data ${stream} ${length}`),
    data: () => {},
  });
  reader.feed(bytes);
  return lines;
}

/** A whole DATA frame. */
export function dataFrame(stream: number, payload: Uint8Array | number): Uint8Array {
  const bytes = typeof payload === 'number' ? new Uint8Array(payload) : payload;
  const frame = new Uint8Array(HEADER_BYTES + bytes.length);
  putDataHeader(frame, 0, stream, bytes.length);
  frame.set(bytes, HEADER_BYTES);
  return frame;
}

/** A Mux with a peer that is played by the test: what it sends and what it reports is written down. */
export class Recorder {
  readonly mux: Mux;
  /** Lines of the frames that the Mux sent since the last `sent()`. */
  #sent: string[] = [];
  /** Lines of what was reported: `ready`, `1 data 5`, `1 end`. */
  #events: string[] = [];
  readonly accepted = new Map<number, MuxStream>();
  /** Ports that are accepted, with their windows. */
  readonly listens = new Map<number, number | undefined>();
  /** Called amid each data event. */
  onData: (stream: number) => void = () => {};

  constructor(side: Side, window = 100) {
    this.mux = new Mux(
      side,
      {
        send: (frame) => this.#sent.push(...frameLines(frame)),
        ready: () => this.#events.push('ready'),
        accept: (stream) => {
          if (!this.listens.has(stream.port)) return undefined;
          this.accepted.set(stream.id, stream);
          const window = this.listens.get(stream.port);
          const sink = this.sink(() => stream.id);
          return window === undefined ? sink : { ...sink, window };
        },
      },
      { window },
    );
  }

  /** A Mux that has said HELLO and heard the peer's. */
  static ready(side: Side, window?: number): Recorder {
    const recorder = new Recorder(side, window);
    recorder.mux.hello();
    recorder.feed({ type: 'hello', version: 1 });
    recorder.sent();
    recorder.events();
    return recorder;
  }

  sink(id: () => number): StreamSink {
    const note = (what: string) => this.#events.push(`${id()} ${what}`);
    return {
      opened: () => note('opened'),
      data: (bytes) => {
        note(`data ${bytes.length}`);
        this.onData(id());
      },
      credit: () => note('credit'),
      end: () => note('end'),
      reset: (reason) => note(`reset ${reason}`),
    };
  }

  open(port: number): MuxStream {
    let stream: MuxStream | undefined;
    stream = this.mux.open(
      port,
      this.sink(() => (stream as MuxStream).id),
    );
    return stream;
  }

  /** Opens a port of the peer, which accepts it; leaves no lines. */
  openAccepted(port: number, credit: number): MuxStream {
    const stream = this.open(port);
    this.feed({ type: 'accept', stream: stream.id, window: credit });
    this.sent();
    this.events();
    return stream;
  }

  feed(frame: Parameters<typeof encodeControl>[0] | Uint8Array): void {
    this.mux.receive(frame instanceof Uint8Array ? frame : encodeControl(frame));
  }

  sent(): string[] {
    return this.#sent.splice(0);
  }

  events(): string[] {
    return this.#events.splice(0);
  }
}
