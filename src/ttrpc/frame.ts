/** ttrpc frames: docs/protocol/ttrpc.md, "Frame". Pure; runs in the guest agent too. */
import { ByteReader, ByteWriter } from '../base/cursor.ts';
import { SquibError } from '../base/errors.ts';

export const FRAME_HEADER_BYTES = 10;

/** The protocol's limit on a frame's data; containerd's peer enforces it as well. */
export const FRAME_DATA_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Oversized data up to here is read and thrown away, so that the connection survives it. Beyond,
 * the length's first byte is not zero: the protocol reserves that, and what comes is no ttrpc.
 */
export const FRAME_DISCARD_BYTES_MAX = 0xff_ffff;

export const FRAME_REQUEST = 1;
export const FRAME_RESPONSE = 2;
export const FRAME_DATA = 3;

/** On requests and data: the sender sends no data on this stream afterwards. */
export const FLAG_REMOTE_CLOSED = 0x01;
/** On requests: the sender will send data on this stream. */
export const FLAG_REMOTE_OPEN = 0x02;
/** On data: there is no message in this frame, not even an empty one. */
export const FLAG_NO_DATA = 0x04;

/** One received frame. */
export interface Frame {
  readonly stream: number;
  /** FRAME_REQUEST, FRAME_RESPONSE, FRAME_DATA or what a later version may add. */
  readonly type: number;
  readonly flags: number;
  /** A copy of its own; empty if the frame was oversized. */
  readonly data: Uint8Array;
  /** The data's length as sent if it was over the limit and thrown away, else 0. */
  readonly discarded: number;
}

/** The bytes of one frame. `data` must be within FRAME_DATA_BYTES_MAX. */
export function encodeFrame(head: Pick<Frame, 'stream' | 'type' | 'flags'>, data: Uint8Array): Uint8Array {
  if (data.length > FRAME_DATA_BYTES_MAX)
    throw new SquibError(
      'resource-exhausted',
      `a message of ${data.length} bytes is over ttrpc's limit of ${FRAME_DATA_BYTES_MAX}`,
    );
  const out = new ByteWriter(FRAME_HEADER_BYTES + data.length);
  out.u32be(data.length);
  out.u32be(head.stream);
  out.u8(head.type);
  out.u8(head.flags);
  out.raw(data);
  return out.finish();
}

/** Cuts a byte stream into frames. Holds at most one frame's data. */
export class FrameDecoder {
  readonly #dataMax: number;
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerFilled = 0;
  /** The frame whose data is being read. */
  #head: Head | undefined;
  #data = EMPTY;
  #filled = 0;

  /** @param dataMax lowers the limit below the protocol's, for a peer with little memory. */
  constructor(dataMax = FRAME_DATA_BYTES_MAX) {
    this.#dataMax = dataMax;
  }

  /**
   * Takes the next bytes, in pieces of any size, and returns the frames that they complete. The
   * chunk may be reused afterwards.
   * @throws SquibError data-loss if the bytes are no ttrpc; the decoder is of no use then.
   */
  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    let at = 0;
    while (at < chunk.length) {
      at += this.#head === undefined ? this.#takeHeader(chunk, at) : this.#takeData(chunk, at, this.#head);
      const frame = this.#finished();
      if (frame !== undefined) frames.push(frame);
    }
    return frames;
  }

  #takeHeader(chunk: Uint8Array, at: number): number {
    const count = Math.min(FRAME_HEADER_BYTES - this.#headerFilled, chunk.length - at);
    this.#header.set(chunk.subarray(at, at + count), this.#headerFilled);
    this.#headerFilled += count;
    if (this.#headerFilled < FRAME_HEADER_BYTES) return count;
    this.#headerFilled = 0;
    const head = decodeHead(this.#header);
    if (head.length > FRAME_DISCARD_BYTES_MAX)
      throw new SquibError('data-loss', `a frame of ${head.length} bytes: the peer does not speak ttrpc`);
    this.#head = head;
    this.#filled = 0;
    this.#data = head.length > this.#dataMax ? EMPTY : new Uint8Array(head.length);
    return count;
  }

  #takeData(chunk: Uint8Array, at: number, head: Head): number {
    const count = Math.min(head.length - this.#filled, chunk.length - at);
    if (head.length <= this.#dataMax) this.#data.set(chunk.subarray(at, at + count), this.#filled);
    this.#filled += count;
    return count;
  }

  #finished(): Frame | undefined {
    const head = this.#head;
    if (head === undefined || this.#filled < head.length) return undefined;
    const data = this.#data;
    this.#head = undefined;
    this.#data = EMPTY;
    const discarded = head.length > this.#dataMax ? head.length : 0;
    return { stream: head.stream, type: head.type, flags: head.flags, data, discarded };
  }
}

interface Head {
  readonly length: number;
  readonly stream: number;
  readonly type: number;
  readonly flags: number;
}

function decodeHead(header: Uint8Array): Head {
  const reader = new ByteReader(header);
  return { length: reader.u32be(), stream: reader.u32be(), type: reader.u8(), flags: reader.u8() };
}

const EMPTY = new Uint8Array(0);
