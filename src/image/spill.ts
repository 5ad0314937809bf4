import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { SquibError } from '../base/errors.ts';
import { bytesColumn } from './column.ts';

/** What small images need stays in memory and costs no file. */
const MEMORY_BYTES = 8 << 20;
/** Strings begin at multiples of this, so that 32 bits name 32 GiB. */
const UNIT_BYTES = 8;
/** One read or write of the file; what lies beyond memory goes through two buffers of this size. */
const WINDOW_BYTES = 256 << 10;

/**
 * Write-once storage for many small byte strings: the first few MiB in memory, the rest in a file
 * that has no name any more when the constructor's caller sees it, so that no crash leaves it behind.
 */
export class Spill {
  readonly #path: string | undefined;
  readonly #memoryBytes: number;
  readonly #memory = bytesColumn(64 << 10);
  #size = 0;
  #fd: number | undefined;
  #tail = Buffer.alloc(0);
  /** Offset in the spill of the tail's first byte; what is below lies in memory or in the file. */
  #tailStart: number;
  #window = Buffer.alloc(0);
  #windowStart = 0;
  #windowEnd = 0;

  /** @param path of the file, made when memory is full; undefined: everything stays in memory. */
  constructor(path?: string, memoryBytes = MEMORY_BYTES) {
    this.#path = path;
    this.#memoryBytes = path === undefined ? Number.MAX_SAFE_INTEGER : memoryBytes;
    this.#tailStart = this.#memoryBytes;
  }

  /**
   * Keeps a copy of the bytes.
   * @returns a 32-bit number to read them back with.
   * @throws SquibError `resource-exhausted` beyond 32 GiB.
   */
  append(bytes: Uint8Array): number {
    const unit = Math.ceil(this.#size / UNIT_BYTES);
    const at = unit * UNIT_BYTES;
    if (unit >= 2 ** 32)
      throw new SquibError(
        'resource-exhausted',
        'small files and attributes of more than 32 GiB in one image',
      );
    if (this.#fd === undefined && at + bytes.length <= this.#memoryBytes) {
      this.#memory.reserve(at + bytes.length);
      this.#memory.cells.set(bytes, at);
    } else {
      if (this.#fd === undefined) this.#openFile(at);
      this.#appendToTail(bytes, at);
    }
    this.#size = at + bytes.length;
    return unit;
  }

  /** @returns a view that is valid until the next call of any method. */
  read(unit: number, length: number): Uint8Array {
    const offset = unit * UNIT_BYTES;
    if (offset < 0 || offset + length > this.#size)
      throw new SquibError(
        'internal',
        `spill holds ${this.#size} bytes; ${length} at ${offset} were asked for`,
      );
    if (this.#fd === undefined || offset < this.#memoryEnd)
      return this.#memory.cells.subarray(offset, offset + length);
    if (offset >= this.#tailStart) {
      const at = offset - this.#tailStart;
      return this.#tail.subarray(at, at + length);
    }
    if (offset < this.#windowStart || offset + length > this.#windowEnd) this.#fill(offset, length);
    const at = offset - this.#windowStart;
    return this.#window.subarray(at, at + length);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** End of what is in memory, once there is a file. */
  #memoryEnd = 0;

  #openFile(at: number): void {
    const path = this.#path as string;
    this.#fd = openSync(path, 'wx+', 0o600);
    unlinkSync(path);
    this.#memoryEnd = at;
    this.#tailStart = at;
    this.#tail = Buffer.alloc(WINDOW_BYTES);
    this.#window = Buffer.alloc(WINDOW_BYTES);
  }

  /** Strings never straddle the file and the tail: a string that does not fit flushes the tail first. */
  #appendToTail(bytes: Uint8Array, at: number): void {
    let used = at - this.#tailStart;
    if (used + bytes.length > this.#tail.length) {
      this.#write(this.#tail, used);
      this.#tailStart += used;
      used = 0;
      if (bytes.length > this.#tail.length) this.#tail = Buffer.alloc(bytes.length);
    }
    this.#tail.set(bytes, used);
  }

  #write(bytes: Uint8Array, length: number): void {
    const at = this.#tailStart - this.#memoryEnd;
    for (let done = 0; done < length; )
      done += writeSync(this.#fd as number, bytes, done, length - done, at + done);
  }

  #fill(offset: number, length: number): void {
    if (length > this.#window.length) this.#window = Buffer.alloc(length);
    const want = Math.min(this.#window.length, this.#tailStart - offset);
    let got = 0;
    while (got < want) {
      const read = readSync(
        this.#fd as number,
        this.#window,
        got,
        want - got,
        offset - this.#memoryEnd + got,
      );
      if (read === 0)
        throw new SquibError('data-loss', `spill file "${this.#path}" ended at ${offset + got}`);
      got += read;
    }
    this.#windowStart = offset;
    this.#windowEnd = offset + want;
  }
}
