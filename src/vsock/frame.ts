/**
 * Frames of the serial stream, as docs/protocol/serial-stream.md has them. Pure; runs in the agent.
 */
import { SquibError } from '../base/errors.ts';

/** Bytes of every frame's header. */
export const HEADER_BYTES = 12;
/** Longest DATA payload: one read of a pipe, and what a control frame may have to wait behind. */
export const FRAME_DATA_BYTES_MAX = 65_536;
/** Longest HELLO payload: room for later versions. No other control frame is longer. */
export const HELLO_BYTES_MAX = 64;
/** Most credit that a stream's sender may hold: bounds what one stream makes its receiver keep. */
export const WINDOW_BYTES_MAX = 16_777_216;
/** The version that this code speaks. */
export const PROTOCOL_VERSION = 1;

/** "SQUB" read as a little-endian u32. */
const MAGIC = 0x42555153;

const HELLO_BYTES_MIN = 8;

export const FRAME_HELLO = 1;
export const FRAME_OPEN = 2;
export const FRAME_ACCEPT = 3;
export const FRAME_DATA = 4;
export const FRAME_CREDIT = 5;
export const FRAME_SHUTDOWN = 6;
export const FRAME_RESET = 7;

/** Payload lengths that a type may have, by type: [name, least, most]. */
const FRAME_SHAPES: readonly (readonly [string, number, number] | undefined)[] = [
  undefined,
  ['HELLO', HELLO_BYTES_MIN, HELLO_BYTES_MAX],
  ['OPEN', 8, 8],
  ['ACCEPT', 4, 4],
  ['DATA', 1, FRAME_DATA_BYTES_MAX],
  ['CREDIT', 4, 4],
  ['SHUTDOWN', 0, 0],
  ['RESET', 4, 4],
];

/**
 * Why a stream was cut. `unavailable` never travels: it is what streams get when the wire is gone.
 */
export type ResetReason = 'cancelled' | 'refused' | 'exhausted' | 'failed' | 'unavailable';

/** Reason numbers on the wire count from 1 in this list. */
const RESET_REASONS: readonly ResetReason[] = ['cancelled', 'refused', 'exhausted', 'failed'];

/** Every frame but DATA, whose payload is never gathered. */
export type ControlFrame =
  | { readonly type: 'hello'; readonly version: number }
  | { readonly type: 'open'; readonly stream: number; readonly port: number; readonly window: number }
  | { readonly type: 'accept'; readonly stream: number; readonly window: number }
  | { readonly type: 'credit'; readonly stream: number; readonly delta: number }
  | { readonly type: 'shutdown'; readonly stream: number }
  | { readonly type: 'reset'; readonly stream: number; readonly reason: ResetReason };

/** A header that has passed `readHeader`. */
export interface FrameHeader {
  readonly type: number;
  readonly stream: number;
  readonly length: number;
}

/** The error of a peer that broke the protocol; the connection is dead. */
export function breach(message: string): SquibError {
  return new SquibError('data-loss', `serial stream: ${message}`);
}

/** A u32 at `at`; the caller guarantees four bytes. */
export function readU32(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
  return (low | ((bytes[at + 3] as number) << 24)) >>> 0;
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 0xff;
  bytes[at + 1] = (value >>> 8) & 0xff;
  bytes[at + 2] = (value >>> 16) & 0xff;
  bytes[at + 3] = value >>> 24;
}

/** Writes the header of a DATA frame with `length` payload bytes to bytes[at … at + HEADER_BYTES). */
export function putDataHeader(bytes: Uint8Array, at: number, stream: number, length: number): void {
  putHeader(bytes, at, { type: FRAME_DATA, stream, length });
}

function putHeader(bytes: Uint8Array, at: number, header: FrameHeader): void {
  putU32(bytes, at, header.type);
  putU32(bytes, at + 4, header.stream);
  putU32(bytes, at + 8, header.length);
}

/**
 * Reads and checks the header at bytes[at … at + HEADER_BYTES).
 * @throws SquibError `data-loss` for an unknown type, set flags or reserved bytes, a length outside
 *   the type's range, or a stream number that the type cannot have.
 */
export function readHeader(bytes: Uint8Array, at: number): FrameHeader {
  const word = readU32(bytes, at);
  const shape = word < FRAME_SHAPES.length ? FRAME_SHAPES[word] : undefined;
  if (shape === undefined) {
    throw breach(
      `frame begins with 0x${word.toString(16).padStart(8, '0')}, expected a type 1..7 and zero flags`,
    );
  }
  const [name, least, most] = shape;
  const stream = readU32(bytes, at + 4);
  const length = readU32(bytes, at + 8);
  if (length < least || length > most) {
    throw breach(`${name} of ${length} bytes on stream ${stream}, expected ${least} to ${most}`);
  }
  if ((stream === 0) !== (word === FRAME_HELLO)) throw breach(`${name} on stream ${stream}`);
  return { type: word, stream, length };
}

/**
 * Reads the payload of any frame but DATA, which begins at bytes[at] and is whole.
 * @throws SquibError `data-loss` for a wrong magic, version 0, or port 0.
 */
export function readControl(header: FrameHeader, bytes: Uint8Array, at: number): ControlFrame {
  const { type, stream } = header;
  switch (type) {
    case FRAME_HELLO: {
      const magic = readU32(bytes, at);
      if (magic !== MAGIC) throw breach(`HELLO with magic 0x${magic.toString(16)}, expected "SQUB"`);
      const version = readU32(bytes, at + 4);
      if (version === 0) throw breach('HELLO with version 0');
      return { type: 'hello', version };
    }
    case FRAME_OPEN: {
      const port = readU32(bytes, at);
      if (port === 0) throw breach(`OPEN of port 0 as stream ${stream}`);
      return { type: 'open', stream, port, window: windowOf(stream, readU32(bytes, at + 4)) };
    }
    case FRAME_ACCEPT:
      return { type: 'accept', stream, window: windowOf(stream, readU32(bytes, at)) };
    case FRAME_CREDIT: {
      const delta = windowOf(stream, readU32(bytes, at));
      if (delta === 0) throw breach(`CREDIT of 0 on stream ${stream}`);
      return { type: 'credit', stream, delta };
    }
    case FRAME_SHUTDOWN:
      return { type: 'shutdown', stream };
    default:
      return { type: 'reset', stream, reason: RESET_REASONS[readU32(bytes, at) - 1] ?? 'failed' };
  }
}

function windowOf(stream: number, bytes: number): number {
  if (bytes > WINDOW_BYTES_MAX) {
    throw breach(`credit of ${bytes} bytes on stream ${stream}, at most ${WINDOW_BYTES_MAX}`);
  }
  return bytes;
}

/** The bytes of a control frame; HELLO is written without room for later versions. */
export function encodeControl(frame: ControlFrame): Uint8Array {
  switch (frame.type) {
    case 'hello':
      return encode(FRAME_HELLO, 0, [MAGIC, frame.version]);
    case 'open':
      return encode(FRAME_OPEN, frame.stream, [frame.port, frame.window]);
    case 'accept':
      return encode(FRAME_ACCEPT, frame.stream, [frame.window]);
    case 'credit':
      return encode(FRAME_CREDIT, frame.stream, [frame.delta]);
    case 'shutdown':
      return encode(FRAME_SHUTDOWN, frame.stream, []);
    case 'reset':
      return encode(FRAME_RESET, frame.stream, [RESET_REASONS.indexOf(frame.reason) + 1]);
  }
}

function encode(type: number, stream: number, words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + words.length * 4);
  putHeader(bytes, 0, { type, stream, length: words.length * 4 });
  for (let i = 0; i < words.length; i++) putU32(bytes, HEADER_BYTES + i * 4, words[i] as number);
  return bytes;
}
