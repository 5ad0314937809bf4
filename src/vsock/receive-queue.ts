/** Shorter pieces are joined: an object per byte would let the peer multiply its window's memory. */
const PIECE_BYTES_MIN = 4096;

/** Short pieces are joined in blocks of this size. */
const BLOCK_BYTES = 16_384;

/** A view may pin at most this many times its own size. */
const PIN_RATIO_MAX = 4;

/**
 * The bytes as a Buffer that may be kept: the same memory where the view makes up a fair part of
 * it, else a copy, so that a short view does not pin a long chunk.
 */
export function keepable(bytes: Uint8Array): Buffer {
  if (bytes.length * PIN_RATIO_MAX >= bytes.buffer.byteLength) {
    return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
  }
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

/**
 * Received bytes that wait for their reader. Takes at most PIN_RATIO_MAX times their number of
 * bytes in memory, however finely the peer has cut them; the stream's window bounds the number.
 */
export class ReceiveQueue {
  #pieces: Buffer[] = [];
  #head = 0;
  #block: Buffer | undefined;
  #blockBytes = 0;

  get empty(): boolean {
    return this.#head === this.#pieces.length && this.#blockBytes === 0;
  }

  /** Adds bytes of a chunk that its owner does not write to again. */
  push(bytes: Uint8Array): void {
    if (bytes.length >= PIECE_BYTES_MIN) {
      this.#seal();
      this.#pieces.push(keepable(bytes));
      return;
    }
    let at = 0;
    while (at < bytes.length) {
      this.#block ??= Buffer.allocUnsafeSlow(BLOCK_BYTES);
      const n = Math.min(bytes.length - at, BLOCK_BYTES - this.#blockBytes);
      this.#block.set(bytes.subarray(at, at + n), this.#blockBytes);
      this.#blockBytes += n;
      at += n;
      if (this.#blockBytes === BLOCK_BYTES) this.#seal();
    }
  }

  /** The next piece in order; undefined when empty. */
  shift(): Buffer | undefined {
    if (this.#head === this.#pieces.length) this.#seal();
    const piece = this.#pieces[this.#head];
    if (piece === undefined) return undefined;
    this.#head++;
    if (this.#head === this.#pieces.length) {
      this.#pieces = [];
      this.#head = 0;
    }
    return piece;
  }

  clear(): void {
    this.#pieces = [];
    this.#head = 0;
    this.#block = undefined;
    this.#blockBytes = 0;
  }

  /** Ends the block under way, so that order is kept; a block that is mostly empty is copied out. */
  #seal(): void {
    if (this.#block === undefined || this.#blockBytes === 0) return;
    this.#pieces.push(keepable(this.#block.subarray(0, this.#blockBytes)));
    if (this.#blockBytes * PIN_RATIO_MAX >= BLOCK_BYTES) this.#block = undefined;
    this.#blockBytes = 0;
  }
}
