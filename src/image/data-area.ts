/**
 * The content of files, written to the output file as it arrives: each file at a block boundary,
 * behind the one before or in blocks that a removed file left. Runs of zeroes become holes.
 * Content small enough to live in an inode waits in a spill until the inode table is written.
 */
import { readSync } from 'node:fs';
import { SquibError } from '../base/errors.ts';
import { BLOCK_BYTES, type BlockFile } from './block-file.ts';
import { u16Column, u32Column } from './column.ts';
import { FreeRuns } from './free-runs.ts';
import type { Spill } from './spill.ts';
import type { NodeId } from './tree.ts';

/** Shorter runs of zeroes inside of data are written: an extent more costs as much as it saves. */
const ZERO_RUN_BYTES = 64 << 10;
const ZEROES = Buffer.alloc(ZERO_RUN_BYTES);
/** `#count` of a file whose content waits in the spill. */
const SPILLED = 0xffff_ffff;
const READ_BYTES = 1 << 20;

/** Blocks of a file that lie in a row in the file and in the image. */
export interface Extent {
  readonly logical: number;
  readonly physical: number;
  readonly blocks: number;
}

/** What `copyFrom` may use where the host has it. */
export interface CopyOptions {
  /** Offset and length of every part that is not a hole, ascending (SEEK_DATA); undefined: all of it. */
  readonly ranges?: Iterable<readonly [offset: number, length: number]>;
  /**
   * Copies inside of the kernel (copy_file_range); returns how many bytes it did, fewer than asked
   * only when it cannot do more: the rest is read and written then.
   */
  copyRange?(sourceOffset: number, targetFd: number, targetOffset: number, length: number): number;
  /** Smallest part worth a `copyRange`, in bytes. */
  readonly copyRangeMin?: number;
}

export class DataArea {
  readonly #file: BlockFile;
  readonly #spill: Spill;
  readonly #inlineBytesMax: number;
  readonly #free = new FreeRuns();
  /** By node: size; first extent or place in the spill; number of extents or SPILLED. */
  readonly #sizeLow = u32Column();
  readonly #sizeHigh = u16Column();
  readonly #first = u32Column();
  readonly #count = u32Column();
  readonly #logical = u32Column();
  readonly #physical = u32Column();
  readonly #blocks = u32Column();
  #extents = 0;
  /** The file that is being written. */
  #node: NodeId | undefined;
  #fileSize = 0;
  #position = 0;
  #extentOpen = false;
  readonly #inline: Buffer;

  /** @param inlineBytesMax files up to this size go to the spill; 0: none. */
  constructor(file: BlockFile, spill: Spill, inlineBytesMax: number) {
    this.#file = file;
    this.#spill = spill;
    this.#inlineBytesMax = inlineBytesMax;
    this.#inline = Buffer.alloc(inlineBytesMax);
  }

  /** Starts the content of a file; what it had before is dropped. Every byte of `size` must follow. */
  beginFile(node: NodeId, size: number): void {
    if (this.#node !== undefined) throw new SquibError('internal', 'the file before was not ended');
    if (!Number.isSafeInteger(size) || size < 0 || size > FILE_BYTES_MAX)
      throw new SquibError('invalid-argument', `file of ${size} bytes; ext4 holds 0..${FILE_BYTES_MAX}`);
    this.#reserve(node);
    this.release(node);
    this.#node = node;
    this.#fileSize = size;
    this.#position = 0;
    this.#extentOpen = false;
    this.#setSize(node, size);
    if (size > 0 && size <= this.#inlineBytesMax) {
      this.#count.cells[node] = SPILLED;
      return;
    }
    this.#first.cells[node] = this.#extents;
    if (size === 0) return;
    const reused = this.#free.take(Math.ceil(size / BLOCK_BYTES));
    if (reused === undefined) this.#file.seekEnd();
    else this.#file.seek(reused);
    this.#reservedEnd = reused === undefined ? 0 : reused + Math.ceil(size / BLOCK_BYTES);
  }

  /** The next bytes of the file. The chunk may be reused afterwards. */
  write(chunk: Uint8Array): void {
    this.#checkRoom(chunk.length);
    if (this.#isInline) {
      this.#inline.set(chunk, this.#position);
      this.#position += chunk.length;
      return;
    }
    let start = 0;
    let at = chunk.length < ZERO_RUN_BYTES ? chunk.length : this.#untilBoundary(chunk.length);
    while (at < chunk.length) {
      const end = Math.min(at + ZERO_RUN_BYTES, chunk.length);
      if (end - at === ZERO_RUN_BYTES && isZero(chunk, at, end)) {
        if (at > start) this.#put(chunk.subarray(start, at));
        this.#skip(ZERO_RUN_BYTES);
        start = end;
      }
      at = end;
    }
    if (start < chunk.length) this.#put(chunk.subarray(start));
  }

  /** The next bytes of the file are zeroes. */
  hole(bytes: number): void {
    this.#checkRoom(bytes);
    if (this.#isInline) {
      this.#inline.fill(0, this.#position, this.#position + bytes);
      this.#position += bytes;
      return;
    }
    const head = this.#untilBoundary(bytes);
    if (head > 0) this.#put(ZEROES.subarray(0, head));
    const rest = bytes - head;
    const tail = this.#position + rest === this.#fileSize ? 0 : rest % BLOCK_BYTES;
    if (rest - tail > 0) this.#skip(rest - tail);
    if (tail > 0) this.#put(ZEROES.subarray(0, tail));
  }

  /** @throws SquibError `data-loss` if bytes are missing. */
  endFile(): void {
    const node = this.#node;
    if (node === undefined) throw new SquibError('internal', 'no file was begun');
    if (this.#position !== this.#fileSize)
      throw new SquibError(
        'data-loss',
        `the file's content ended after ${this.#position} bytes of ${this.#fileSize}`,
      );
    if (this.#isInline) {
      this.#first.cells[node] = this.#spill.append(this.#inline.subarray(0, this.#fileSize));
    } else {
      this.#closeExtent();
      this.#returnReserved();
      this.#count.cells[node] = this.#extents - (this.#first.cells[node] as number);
    }
    this.#node = undefined;
  }

  /**
   * The whole content of a file from an open one.
   * @throws SquibError `aborted` if the source turns out shorter than `size`.
   */
  copyFrom(node: NodeId, sourceFd: number, size: number, options: CopyOptions = {}): void {
    this.beginFile(node, size);
    if (options.ranges && !this.#isInline) {
      for (const [offset, length] of options.ranges) {
        const start = Math.min(Math.max(offset, this.#position), size);
        if (start > this.#position) this.hole(start - this.#position);
        this.#copyPart(sourceFd, Math.min(offset + length, size), options);
      }
      if (this.#position < size) this.hole(size - this.#position);
    } else {
      this.#copyPart(sourceFd, size, options);
    }
    this.endFile();
  }

  /** Forgets a node's content; its blocks serve other files or end up free. */
  release(node: NodeId): void {
    const count = this.#count.cells[node] ?? 0;
    if (count === 0) return;
    if (count !== SPILLED) for (const e of this.extents(node)) this.#free.add(e.physical, e.blocks);
    this.#count.cells[node] = 0;
    this.#setSize(node, 0);
  }

  /** Bytes of a file's content; 0 for what has none. */
  size(node: NodeId): number {
    return (this.#sizeLow.cells[node] ?? 0) + (this.#sizeHigh.cells[node] ?? 0) * 2 ** 32;
  }

  /** The content that waits for the inode, a view until the next call; undefined: it is in extents. */
  inline(node: NodeId): Uint8Array | undefined {
    if (this.#count.cells[node] !== SPILLED) return undefined;
    return this.#spill.read(this.#first.cells[node] as number, this.size(node));
  }

  /** Moves content that does not fit into its inode to a block of its own. */
  promote(node: NodeId): void {
    const content = this.inline(node);
    if (!content) return;
    this.place(node, this.writeMetadata(content), content.length);
  }

  /** Gives a node blocks in a row that something else wrote: a directory, a long link target. */
  place(node: NodeId, physical: number, size: number): void {
    this.#reserve(node);
    this.#setSize(node, size);
    this.#first.cells[node] = this.#extents;
    this.#count.cells[node] = 1;
    this.#addExtent(0, physical, Math.ceil(size / BLOCK_BYTES));
  }

  /** Writes what is no file's content to blocks in a row. @returns the first. */
  writeMetadata(bytes: Uint8Array): number {
    const start = this.metadataBlocks(Math.ceil(bytes.length / BLOCK_BYTES));
    this.#file.seek(start);
    this.#file.append(bytes);
    this.#file.pad();
    return start;
  }

  /** Blocks in a row for what is no file's content and the caller writes. */
  metadataBlocks(blocks: number): number {
    return this.#free.take(blocks) ?? this.#file.allocate(blocks);
  }

  /** How many `extents` gives. */
  extentCount(node: NodeId): number {
    const count = this.#count.cells[node] ?? 0;
    return count === SPILLED ? 0 : count;
  }

  /** Ascending by logical block; none for inline content and for what has no content. */
  *extents(node: NodeId): Generator<Extent, undefined, undefined> {
    const count = this.extentCount(node);
    const first = this.#first.cells[node] ?? 0;
    for (let i = first; i < first + count; i++) {
      yield {
        logical: this.#logical.cells[i] as number,
        physical: this.#physical.cells[i] as number,
        blocks: this.#blocks.cells[i] as number,
      };
    }
  }

  /** Blocks inside of the area that hold nothing. */
  get free(): FreeRuns {
    return this.#free;
  }

  /** End of the freed run that the current file writes into; 0: it appends. */
  #reservedEnd = 0;

  #reserve(node: NodeId): void {
    this.#sizeLow.reserve(node + 1);
    this.#sizeHigh.reserve(node + 1);
    this.#first.reserve(node + 1);
    this.#count.reserve(node + 1);
  }

  #setSize(node: NodeId, size: number): void {
    this.#sizeLow.cells[node] = size;
    this.#sizeHigh.cells[node] = Math.floor(size / 2 ** 32);
  }

  get #isInline(): boolean {
    return this.#node !== undefined && this.#count.cells[this.#node] === SPILLED;
  }

  #checkRoom(bytes: number): void {
    if (this.#node === undefined) throw new SquibError('internal', 'no file was begun');
    if (this.#position + bytes > this.#fileSize)
      throw new SquibError(
        'data-loss',
        `the file's content goes on beyond its size of ${this.#fileSize} bytes by ${this.#position + bytes - this.#fileSize}`,
      );
  }

  /** Bytes from the position to the next block of the file, at most `limit`. */
  #untilBoundary(limit: number): number {
    return Math.min((BLOCK_BYTES - (this.#position % BLOCK_BYTES)) % BLOCK_BYTES, limit);
  }

  #put(bytes: Uint8Array): void {
    this.#openExtent();
    this.#file.append(bytes);
    this.#position += bytes.length;
  }

  #openExtent(): void {
    if (this.#extentOpen) return;
    this.#addExtent(this.#position / BLOCK_BYTES, this.#file.block, 0);
    this.#extentOpen = true;
  }

  /** Both ends at block boundaries, or the end that of the file. */
  #skip(bytes: number): void {
    this.#closeExtent();
    this.#position += bytes;
  }

  #closeExtent(): void {
    if (!this.#extentOpen) return;
    this.#file.pad();
    const last = this.#extents - 1;
    this.#blocks.cells[last] = this.#file.block - (this.#physical.cells[last] as number);
    this.#extentOpen = false;
  }

  /** Holes leave a rest of the freed run that was reserved for the whole size. */
  #returnReserved(): void {
    if (this.#reservedEnd === 0) return;
    const at = this.#file.block;
    this.#free.add(at, this.#reservedEnd - at);
    this.#reservedEnd = 0;
  }

  #addExtent(logical: number, physical: number, blocks: number): void {
    const i = this.#extents++;
    for (const column of [this.#logical, this.#physical, this.#blocks]) column.reserve(i + 1);
    this.#logical.cells[i] = logical;
    this.#physical.cells[i] = physical;
    this.#blocks.cells[i] = blocks;
  }

  /** From the position to `end`, both of source and file. */
  #copyPart(fd: number, end: number, options: CopyOptions): void {
    const { copyRange, copyRangeMin = ZERO_RUN_BYTES } = options;
    if (copyRange && end - this.#position >= copyRangeMin && this.#position % BLOCK_BYTES === 0)
      this.#copyInKernel(end, copyRange);
    while (this.#position < end) {
      const want = Math.min(end - this.#position, READ_BYTES);
      const direct = !this.#isInline && want < ZERO_RUN_BYTES;
      const into = direct ? this.#file.room(want) : this.#readBuffer(want);
      const got = readSync(fd, into, 0, Math.min(want, into.length), this.#position);
      if (got === 0)
        throw new SquibError(
          'aborted',
          `the source file ended at ${this.#position} of ${end} bytes: it changed while it was read`,
        );
      if (direct) {
        this.#openExtent();
        this.#file.commit(got);
        this.#position += got;
      } else this.write(into.subarray(0, got));
    }
  }

  #copyInKernel(end: number, copyRange: NonNullable<CopyOptions['copyRange']>): void {
    this.#openExtent();
    this.#file.flush();
    const bytes = end - this.#position;
    const target = this.#file.block * BLOCK_BYTES;
    const done = copyRange(this.#position, this.#file.fd, target, bytes);
    this.#file.skip(done);
    this.#position += done;
  }

  #buffer: Buffer | undefined;
  #readBuffer(want: number): Uint8Array {
    this.#buffer ??= Buffer.allocUnsafeSlow(READ_BYTES);
    return this.#buffer.subarray(0, want);
  }
}

/** 2^32 blocks less one. */
const FILE_BYTES_MAX = (2 ** 32 - 2) * BLOCK_BYTES;

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  return bytes[from] === 0 && ZEROES.compare(bytes, from, to) === 0;
}
