import {
  type ControlFrame,
  FRAME_DATA,
  type FrameHeader,
  HEADER_BYTES,
  HELLO_BYTES_MAX,
  readControl,
  readHeader,
} from './frame.ts';

/** What a FrameReader finds, in wire order. */
export interface FrameHandler {
  control(frame: ControlFrame): void;
  /** A DATA frame of `length` bytes begins; its payload follows in one or more `data` calls. */
  dataBegin(stream: number, length: number): void;
  /** The next part of that payload: a view of the caller's chunk, valid during the call. */
  data(bytes: Uint8Array): void;
}

/**
 * Cuts chunks of any size into frames. Payload of DATA passes through as it comes; what is kept
 * between two chunks is never more than one control frame.
 */
export class FrameReader {
  readonly #handler: FrameHandler;
  /** A header or control frame that a chunk's end has cut. */
  readonly #held = new Uint8Array(HEADER_BYTES + HELLO_BYTES_MAX);
  #heldBytes = 0;
  #dataLeft = 0;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /**
   * Reads a chunk to its end.
   * @throws SquibError `data-loss` on a malformed frame, and whatever the handler throws; nothing
   *   may be fed after that.
   */
  feed(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#dataLeft > 0) {
        const end = Math.min(chunk.length, at + this.#dataLeft);
        this.#dataLeft -= end - at;
        this.#handler.data(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
        at = end;
      } else if (this.#heldBytes > 0) {
        at += this.#hold(chunk, at);
      } else {
        const taken = this.#frame(chunk, at);
        at += taken > 0 ? taken : this.#hold(chunk, at);
      }
    }
  }

  /** Adds to the held frame what it lacks and the chunk has; gives the number of bytes taken. */
  #hold(chunk: Uint8Array, from: number): number {
    let at = from;
    for (;;) {
      const held = this.#heldBytes;
      let want = HEADER_BYTES;
      if (held >= HEADER_BYTES) want += readHeader(this.#held, 0).length;
      while (this.#heldBytes < want && at < chunk.length) {
        this.#held[this.#heldBytes++] = chunk[at++] as number;
      }
      if (this.#heldBytes < want) return at - from;
      if (this.#frame(this.#held.subarray(0, want), 0) > 0) {
        this.#heldBytes = 0;
        return at - from;
      }
    }
  }

  /** Handles the frame at bytes[at]; gives its length, without payload for DATA, or 0 if it is cut. */
  #frame(bytes: Uint8Array, at: number): number {
    if (bytes.length - at < HEADER_BYTES) return 0;
    const header: FrameHeader = readHeader(bytes, at);
    if (header.type === FRAME_DATA) {
      this.#dataLeft = header.length;
      this.#handler.dataBegin(header.stream, header.length);
      return HEADER_BYTES;
    }
    if (bytes.length - at < HEADER_BYTES + header.length) return 0;
    this.#handler.control(readControl(header, bytes, at + HEADER_BYTES));
    return HEADER_BYTES + header.length;
  }
}
