import { writeSync } from 'node:fs';
import { SquibError } from '../base/errors.ts';

export const BLOCK_BYTES = 4096;
/** Files go out in writes of this size; more gains nothing. */
const STAGING_BYTES = 4 << 20;
/** From here on a chunk is written from where it is instead of being copied. */
const DIRECT_BYTES = 256 << 10;

/** The output file: an append position in blocks, and one staging buffer before it. */
export class BlockFile {
  readonly fd: number;
  readonly #blocksMax: number;
  readonly #staging = Buffer.allocUnsafeSlow(STAGING_BYTES);
  #used = 0;
  /** Byte offset in the file of the staging buffer's first byte. */
  #start: number;
  /** First block never given out. */
  #end: number;

  /** @param blocksMax how far the file may grow. */
  constructor(fd: number, firstBlock: number, blocksMax: number) {
    this.fd = fd;
    this.#start = firstBlock * BLOCK_BYTES;
    this.#end = firstBlock;
    this.#blocksMax = blocksMax;
  }

  /** The block behind the last one that was given out. */
  get end(): number {
    return this.#end;
  }

  /** The block that the next byte goes to; the position must be at a block's start. */
  get block(): number {
    return (this.#start + this.#used) / BLOCK_BYTES;
  }

  /** Moves the position to a block that was given out before. */
  seek(block: number): void {
    if (block * BLOCK_BYTES === this.#start + this.#used) return;
    this.flush();
    this.#start = block * BLOCK_BYTES;
  }

  /** Moves the position to the end. */
  seekEnd(): void {
    this.seek(this.#end);
  }

  /** Blocks behind the end, not written by it: for metadata and for copies by the kernel. */
  allocate(blocks: number): number {
    const start = this.#end;
    this.#claim(start + blocks);
    return start;
  }

  append(bytes: Uint8Array): void {
    this.#claim(Math.ceil((this.#start + this.#used + bytes.length) / BLOCK_BYTES));
    if (bytes.length >= DIRECT_BYTES) {
      this.flush();
      this.writeAt(bytes, this.#start);
      this.#start += bytes.length;
      return;
    }
    if (bytes.length > STAGING_BYTES - this.#used) this.flush();
    this.#staging.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /**
   * Room for `want` bytes, fewer than a direct write has, that the caller fills and then `commit`s: a file is read straight
   * into the staging buffer.
   */
  room(want: number): Uint8Array {
    if (want > STAGING_BYTES - this.#used) this.flush();
    return this.#staging.subarray(this.#used, this.#used + want);
  }

  commit(bytes: number): void {
    this.#claim(Math.ceil((this.#start + this.#used + bytes) / BLOCK_BYTES));
    this.#used += bytes;
  }

  /** Steps over bytes that somebody else wrote at the position; the staging buffer must be empty. */
  skip(bytes: number): void {
    this.#claim(Math.ceil((this.#start + bytes) / BLOCK_BYTES));
    this.#start += bytes;
  }

  /** Zeroes up to the next block boundary. */
  pad(): void {
    const over = (this.#start + this.#used) % BLOCK_BYTES;
    if (over === 0) return;
    const zeroes = BLOCK_BYTES - over;
    if (this.#used + zeroes > STAGING_BYTES) this.flush();
    this.#staging.fill(0, this.#used, this.#used + zeroes);
    this.#used += zeroes;
  }

  flush(): void {
    if (this.#used > 0) this.writeAt(this.#staging.subarray(0, this.#used), this.#start);
    this.#start += this.#used;
    this.#used = 0;
  }

  /** Writes all of it at an offset in bytes, position and staging aside. */
  writeAt(bytes: Uint8Array, offset: number): void {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.fd, bytes, done, bytes.length - done, offset + done);
  }

  #claim(end: number): void {
    if (end <= this.#end) return;
    if (end > this.#blocksMax)
      throw new SquibError(
        'resource-exhausted',
        `the content needs more than the image's ${this.#blocksMax} blocks of ${BLOCK_BYTES} bytes`,
      );
    this.#end = end;
  }
}
