import {
  encodeFrame,
  FRAME_REQUEST,
  FRAME_RESPONSE,
  type Frame,
  FrameDecoder,
} from '../../src/ttrpc/frame.ts';
import { decodeResponse, encodeRequest, type Request, type Response } from '../../src/ttrpc/message.ts';
import {
  type Call,
  ServerConnection,
  type ServerConnectionOptions,
} from '../../src/ttrpc/server-connection.ts';

/** A server connection whose calls and answers a test can look at. */
export class Recorder {
  readonly calls: Call[] = [];
  readonly frames: Frame[] = [];
  readonly connection: ServerConnection;
  readonly #decoder = new FrameDecoder();

  constructor(options: Partial<ServerConnectionOptions> = {}) {
    this.connection = new ServerConnection({
      send: (bytes) => this.frames.push(...this.#decoder.push(bytes)),
      call: (call) => this.calls.push(call),
      ...options,
    });
  }

  /** The responses so far: stream, status code, payload as text. */
  get answers(): [number, number, string][] {
    return this.frames
      .filter((frame) => frame.type === FRAME_RESPONSE)
      .map((frame) => {
        const response: Response = decodeResponse(frame.data);
        return [frame.stream, response.status?.code ?? 0, Buffer.from(response.payload).toString()];
      });
  }

  /** Feeds a request. */
  request(stream: number, request: Partial<Request> = {}, flags = 0): void {
    this.connection.receive(requestFrame(stream, request, flags));
  }

  /** Feeds any frame. */
  frame(head: Pick<Frame, 'stream' | 'type' | 'flags'>, data: Uint8Array = new Uint8Array(0)): void {
    this.connection.receive(encodeFrame(head, data));
  }
}

export function requestFrame(stream: number, request: Partial<Request> = {}, flags = 0): Uint8Array {
  const full = {
    service: 's',
    method: 'm',
    payload: new Uint8Array(0),
    timeoutNanos: 0,
    metadata: [],
    ...request,
  };
  return encodeFrame({ stream, type: FRAME_REQUEST, flags }, encodeRequest(full));
}
