/**
 * Cursors over bytes for the wire codecs, on both ends: typed arrays only, since the guest
 * agent's engine has no Buffer.
 */
import { SquibError } from './errors.ts';

/** 2^32, the weight of the upper half of a 64-bit value. */
const HALF = 0x1_0000_0000;

/** A 64-bit value as two unsigned 32-bit halves: what a syscall struct or a varint takes. */
export interface Halves {
  readonly low: number;
  readonly high: number;
}

/**
 * The halves of an unsigned 64-bit value. Numbers hold 53 bits exactly; those from 2^64 on give
 * all ones. So "infinity" (2^64-1, which reads as the number 2^64) survives being read and written.
 * @throws SquibError invalid-argument for negative, fractional or non-finite values.
 */
export function halvesU64(value: number | bigint): Halves {
  if (typeof value === 'bigint') {
    if (value < BigInt(0) || BigInt.asUintN(64, value) !== value) throw outOfRange(value, '0..2^64-1');
    return halvesOfBigint(value);
  }
  if (!(value >= 0) || Math.floor(value) !== value) throw outOfRange(value, '0..2^64-1');
  if (value >= HALF * HALF) return { low: HALF - 1, high: HALF - 1 };
  return halvesOfNumber(value);
}

/**
 * The halves of a signed 64-bit value in two's complement; numbers beyond ±2^63 give the nearest.
 * @throws SquibError invalid-argument for fractional or non-finite values.
 */
export function halvesI64(value: number | bigint): Halves {
  if (typeof value === 'bigint') {
    if (BigInt.asIntN(64, value) !== value) throw outOfRange(value, '-2^63..2^63-1');
    return halvesOfBigint(value);
  }
  if (Math.floor(value) !== value) throw outOfRange(value, '-2^63..2^63-1');
  if (value >= (HALF * HALF) / 2) return { low: HALF - 1, high: 0x7fff_ffff };
  if (value < (HALF * HALF) / -2) return { low: 0, high: 0x8000_0000 };
  return halvesOfNumber(value);
}

/** Division by a power of two, floor and the rest are all exact on doubles. */
function halvesOfNumber(value: number): Halves {
  const high = Math.floor(value / HALF);
  return { low: value - high * HALF, high: high >>> 0 };
}

function halvesOfBigint(value: bigint): Halves {
  return {
    low: Number(BigInt.asUintN(32, value)),
    high: Number(BigInt.asUintN(32, value >> BigInt(32))),
  };
}

function outOfRange(value: number | bigint, range: string): SquibError {
  return new SquibError('invalid-argument', `${value} is not an integer in ${range}`);
}

/**
 * Reads forward through bytes that stay the caller's. Every read beyond the end throws
 * SquibError data-loss and leaves the position where it was.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  /** Offset of the next unread byte. */
  at = 0;
  /** The halves of the last varint, each unsigned: its exact value where a number cannot be. */
  low = 0;
  high = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.bytes.length - this.at;
  }

  u8(): number {
    this.#need(1);
    return this.bytes[this.at++] as number;
  }

  /** Four bytes, most significant first. */
  u32be(): number {
    this.#need(4);
    const { bytes, at } = this;
    this.at += 4;
    return (
      (((bytes[at] as number) << 24) |
        ((bytes[at + 1] as number) << 16) |
        ((bytes[at + 2] as number) << 8) |
        (bytes[at + 3] as number)) >>>
      0
    );
  }

  /**
   * A base-128 varint of at most ten bytes and 64 bits, as an unsigned number (the nearest double
   * beyond 2^53); `low` and `high` then hold it exactly.
   * @throws SquibError data-loss if it is cut short or longer.
   */
  varint(): number {
    const start = this.at;
    // Nearly every one is a single byte, and the agent's engine interprets.
    const only = this.bytes[start];
    if (only !== undefined && only < 0x80) {
      this.at = start + 1;
      this.low = only;
      this.high = 0;
      return only;
    }
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.left === 0) break;
      const byte = this.u8();
      const part = byte & 0x7f;
      if (shift < 32) low |= part << shift;
      if (shift === 28) high = part >> 4;
      else if (shift > 28) high |= part << (shift - 32);
      if (shift === 63 && byte > 1) break;
      if (byte < 0x80) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return this.high * HALF + this.low;
      }
    }
    this.at = start;
    throw new SquibError('data-loss', `no complete varint of at most 64 bits at offset ${start}`);
  }

  /** The next `length` bytes as a view, not a copy. */
  view(length: number): Uint8Array {
    this.#need(length);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /**
   * Steps over the value of a protocol buffers field of this wire type.
   * @throws SquibError data-loss for groups (3, 4), which proto3 does not have, and unknown types.
   */
  skipField(wireType: number): void {
    if (wireType === 0) this.varint();
    else if (wireType === 1) this.view(8);
    else if (wireType === 2) this.view(this.varint());
    else if (wireType === 5) this.view(4);
    else
      throw new SquibError('data-loss', `wire type ${wireType} at offset ${this.at} is none of 0, 1, 2, 5`);
  }

  #need(count: number): void {
    if (count <= this.left) return;
    throw new SquibError(
      'data-loss',
      `the bytes end too early: ${count} needed at offset ${this.at}, ${this.left} there`,
    );
  }
}

/** Most messages of ours fit without growing. */
const FIRST_BYTES = 128;

/** Collects bytes in one growing buffer. */
export class ByteWriter {
  #bytes: Uint8Array;
  #at = 0;

  /** @param expected how many bytes will be written, where that is known. */
  constructor(expected = FIRST_BYTES) {
    this.#bytes = new Uint8Array(expected);
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }

  /** Four bytes, most significant first. */
  u32be(value: number): void {
    this.#room(4);
    for (let shift = 24; shift >= 0; shift -= 8) this.#bytes[this.#at++] = value >>> shift;
  }

  /** A base-128 varint of the unsigned value high·2^32 + low. */
  varint(low: number, high = 0): void {
    this.#room(10);
    let l = low >>> 0;
    let h = high >>> 0;
    while (h !== 0 || l > 0x7f) {
      this.#bytes[this.#at++] = (l & 0x7f) | 0x80;
      l = ((l >>> 7) | (h << 25)) >>> 0;
      h >>>= 7;
    }
    this.#bytes[this.#at++] = l;
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** What was written, as a view of the buffer: the writer must not be used afterwards. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  #room(count: number): void {
    const needed = this.#at + count;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}
