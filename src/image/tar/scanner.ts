import { SquibError } from '../../base/errors.ts';
import { TarBudget } from './budget.ts';
import type { TarSink } from './entry.ts';
import { BLOCK_BYTES, emptyHeader, isExtension, isZeroBlock, readHeader } from './header.ts';
import { emptyEntry, type MutableEntry, mergeEntry } from './merge.ts';
import { emptyPaxRecords, type PaxRecords, readPaxRecords } from './pax.ts';
import { checkSparseMap, oldGnuExtension, oldGnuSparse, type SparseMap, SparseMapReader } from './sparse.ts';

/** What the next bytes are. The first four are whole blocks. */
const HEADER = 0;
const SPARSE_EXTENSION = 1;
const SPARSE_MAP = 2;
const SECOND_ZERO = 3;
const META = 4;
const DATA = 5;
const PADDING = 6;
const TRAILING = 7;

const EMPTY = Buffer.alloc(0);

/**
 * Reads a tar archive, pushed in chunks cut anywhere, and hands its entries to a sink. Does no I/O
 * and keeps no more than one header and its extended headers. docs/protocol/tar.md says what is
 * accepted. Every error names the entry, where in the stream it begins, and the reason; the
 * scanner is of no use after one.
 */
export class TarScanner {
  readonly #sink: TarSink;
  readonly #budget: TarBudget;
  readonly #header = emptyHeader();
  readonly #entry: MutableEntry = emptyEntry();
  readonly #stash = Buffer.alloc(BLOCK_BYTES);
  #stashed = 0;
  #state = HEADER;
  /** Bytes of the stream before the current chunk. */
  #base = 0;
  /** Where the entry at hand begins; -1: between entries. */
  #offset = -1;
  #named = false;

  #meta = EMPTY;
  #metaSize = 0;
  #metaFilled = 0;
  #metaType = 0;
  #longPath: string | undefined;
  #longLink: string | undefined;
  #global: PaxRecords | undefined;
  #own: PaxRecords | undefined;

  /** Bytes of data, or of padding, still to come. */
  #left = 0;
  #padding = 0;
  #sparse: SparseMap | undefined;
  #mapReader: SparseMapReader | undefined;
  #segment = 0;
  #position = 0;

  constructor(sink: TarSink, budget: TarBudget = new TarBudget()) {
    this.#sink = sink;
    this.#budget = budget;
  }

  /** True from the archive's own end on; only bytes that mean nothing may follow. */
  get ended(): boolean {
    return this.#state === TRAILING;
  }

  /** @throws SquibError of whatever code, its message beginning with the entry and its offset. */
  push(bytes: Uint8Array): void {
    const chunk = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    try {
      this.#budget.takeStream(chunk.length);
      this.#scan(chunk);
    } catch (thrown) {
      throw this.#located(thrown);
    }
    this.#base += chunk.length;
  }

  /** The stream is over. An archive without its end marker is taken, one cut within an entry is not. */
  finish(): void {
    if (this.#base === 0) throw new SquibError('data-loss', 'input is empty, not a tar archive');
    const between = this.#stashed === 0 && (this.#state === HEADER || this.#state === SECOND_ZERO);
    if (this.#state === TRAILING || (between && !this.#pending)) return;
    const what = between
      ? 'after an extended header, its entry missing'
      : this.#state === DATA
        ? `within the content, ${this.#left} of its bytes missing`
        : this.#state === HEADER
          ? 'within the header'
          : 'within the entry';
    throw this.#located(new SquibError('data-loss', `input ends at byte ${this.#base} ${what}: truncated`));
  }

  /** Where the scanner is, for messages: the entry, if its name is known, and where that begins. */
  get place(): string {
    const name = this.#named ? ` ${JSON.stringify(this.#entry.path)}` : '';
    return `tar entry${name} at byte ${this.#offset === -1 ? this.#base : this.#offset}`;
  }

  #located(thrown: unknown): SquibError {
    const where = this.place;
    if (thrown instanceof SquibError) {
      return new SquibError(thrown.code, `${where}: ${thrown.message}`, { cause: thrown.cause });
    }
    const full = (thrown as NodeJS.ErrnoException)?.code === 'ENOSPC';
    return new SquibError(full ? 'resource-exhausted' : 'internal', where, { cause: thrown });
  }

  #scan(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state <= SECOND_ZERO) at = this.#block(chunk, at);
      else if (this.#state === DATA) at = this.#data(chunk, at);
      else if (this.#state === PADDING) {
        const n = Math.min(this.#left, chunk.length - at);
        this.#left -= n;
        at += n;
        if (this.#left === 0) this.#state = HEADER;
      } else if (this.#state === META) at = this.#collect(chunk, at);
      else return;
    }
  }

  #block(chunk: Buffer, at: number): number {
    if (this.#stashed === 0 && chunk.length - at >= BLOCK_BYTES) {
      this.#wholeBlock(chunk, at, this.#base + at);
      return at + BLOCK_BYTES;
    }
    const n = Math.min(BLOCK_BYTES - this.#stashed, chunk.length - at);
    chunk.copy(this.#stash, this.#stashed, at, at + n);
    if (this.#offset === -1) this.#offset = this.#base + at;
    this.#stashed += n;
    if (this.#stashed === BLOCK_BYTES) {
      this.#stashed = 0;
      this.#wholeBlock(this.#stash, 0, this.#base + at + n - BLOCK_BYTES);
    }
    return at + n;
  }

  #wholeBlock(block: Buffer, at: number, streamAt: number): void {
    if (this.#state === HEADER) this.#headerBlock(block, at, streamAt);
    else if (this.#state === SECOND_ZERO) {
      this.#offset = streamAt;
      if (!isZeroBlock(block, at))
        throw new SquibError('data-loss', 'a lone block of zeros, then more: damaged');
      this.#state = TRAILING;
    } else if (this.#state === SPARSE_MAP) {
      this.#left -= BLOCK_BYTES;
      if (this.#left < 0) throw new SquibError('invalid-argument', 'sparse map exceeds the entry');
      const reader = this.#mapReader as SparseMapReader;
      if (!reader.block(block, at)) return;
      this.#mapReader = undefined;
      this.#begin(this.#left, reader.map);
    } else {
      const map = this.#sparse as SparseMap;
      const more = oldGnuExtension(block, at, map);
      this.#checkSegments(map);
      if (!more) this.#begin(this.#left, map);
    }
  }

  #checkSegments(map: SparseMap): void {
    const max = this.#budget.limits.sparseSegments;
    if (map.length / 2 > max) {
      throw new SquibError('resource-exhausted', `sparse file has more than ${max} stretches of data`);
    }
  }

  #headerBlock(block: Buffer, at: number, streamAt: number): void {
    const pending = this.#pending;
    if (!pending) this.#offset = streamAt;
    if (block[at] === 0 && isZeroBlock(block, at)) {
      if (pending) {
        throw new SquibError('data-loss', 'archive ends after an extended header, its entry missing');
      }
      this.#state = SECOND_ZERO;
      this.#offset = -1;
      return;
    }
    const header = this.#header;
    readHeader(block, at, header);
    if (header.size < 0) throw new SquibError('invalid-argument', `size ${header.size} is negative`);
    if (isExtension(header.type)) {
      this.#beginMeta(header.type, header.size);
    } else if (header.type === 0x56) {
      // V: the archive's label.
      this.#offset = -1;
      this.#skip(header.size);
    } else {
      this.#entryHeader(block, at);
    }
  }

  /** Extended headers came whose entry did not come yet. */
  get #pending(): boolean {
    return this.#own !== undefined || this.#longPath !== undefined || this.#longLink !== undefined;
  }

  #skip(size: number): void {
    this.#budget.checkDeclared(size);
    this.#left = size + padding(size);
    this.#state = this.#left > 0 ? PADDING : HEADER;
  }

  #beginMeta(type: number, size: number): void {
    const max = this.#budget.limits.headerBytes;
    if (size > max) {
      throw new SquibError(
        'resource-exhausted',
        `extended header of ${size} bytes, at most ${max} are taken`,
      );
    }
    this.#metaType = type;
    this.#metaSize = size;
    this.#metaFilled = 0;
    if (size === 0) this.#metaDone(EMPTY, 0);
    else this.#state = META;
  }

  #collect(chunk: Buffer, at: number): number {
    if (this.#metaFilled === 0 && chunk.length - at >= this.#metaSize) {
      this.#metaDone(chunk, at);
      return at + this.#metaSize;
    }
    if (this.#meta.length < this.#metaSize) this.#meta = Buffer.alloc(Math.max(this.#metaSize, 4096));
    const n = Math.min(this.#metaSize - this.#metaFilled, chunk.length - at);
    chunk.copy(this.#meta, this.#metaFilled, at, at + n);
    this.#metaFilled += n;
    if (this.#metaFilled === this.#metaSize) this.#metaDone(this.#meta, 0);
    return at + n;
  }

  #metaDone(bytes: Buffer, at: number): void {
    const end = at + this.#metaSize;
    switch (this.#metaType) {
      case 0x4c:
        this.#longPath = untilZero(bytes, at, end);
        break;
      case 0x4b:
        this.#longLink = untilZero(bytes, at, end);
        break;
      case 0x67:
        this.#global ??= emptyPaxRecords();
        readPaxRecords(bytes, at, end, this.#global);
        this.#checkGlobal(this.#global);
        break;
      default:
        this.#own ??= emptyPaxRecords();
        readPaxRecords(bytes, at, end, this.#own);
    }
    this.#left = padding(this.#metaSize);
    this.#state = this.#left > 0 ? PADDING : HEADER;
  }

  /** Of all that a global header may say, these would give every entry the same name or length. */
  #checkGlobal(global: PaxRecords): void {
    if (
      global.path !== undefined ||
      global.linkPath !== undefined ||
      global.size !== undefined ||
      global.sparseName !== undefined ||
      global.sparseMap !== undefined ||
      global.sparseMajor !== undefined
    ) {
      throw new SquibError('invalid-argument', 'global pax header sets a name, a size or a sparse map');
    }
  }

  #entryHeader(block: Buffer, at: number): void {
    const entry = this.#entry;
    const header = this.#header;
    const own = this.#own;
    entry.path = own?.sparseName ?? own?.path ?? this.#longPath ?? header.path;
    this.#named = true;
    this.#budget.takeEntry();
    mergeEntry(
      { header, longPath: this.#longPath, longLink: this.#longLink, global: this.#global, own },
      entry,
    );
    entry.offset = this.#offset;
    const stored = own?.size ?? header.size;
    this.#budget.checkDeclared(stored);
    if (entry.kind === 'file') this.#beginFile(stored, block, at);
    else this.#beginOther(stored);
  }

  #beginFile(stored: number, block: Buffer, at: number): void {
    const entry = this.#entry;
    const own = this.#own;
    this.#left = stored;
    this.#padding = padding(stored);
    if (this.#header.type === 0x53) {
      const sparse = oldGnuSparse(block, at);
      entry.size = sparse.size;
      this.#sparse = sparse.map;
      if (sparse.more) this.#state = SPARSE_EXTENSION;
      else this.#begin(stored, sparse.map);
      return;
    }
    if (own?.sparseMajor === undefined) {
      entry.size = stored;
      this.#begin(stored, undefined);
      return;
    }
    entry.size = own.sparseSize ?? 0;
    switch (own.sparseMajor) {
      case 0:
        this.#begin(stored, own.sparseMap ?? []);
        break;
      case 1:
        this.#mapReader = new SparseMapReader(this.#budget.limits.sparseSegments);
        this.#state = SPARSE_MAP;
        break;
      default:
        throw new SquibError(
          'unimplemented',
          `GNU.sparse.major ${own.sparseMajor} is unknown; known are 0 and 1`,
        );
    }
  }

  /** Only GNU's incremental directories bring bytes of their own; links may state a size and bring none. */
  #beginOther(stored: number): void {
    const entry = this.#entry;
    entry.size = 0;
    if (
      entry.kind === 'directory' &&
      this.#header.type !== 0x35 &&
      this.#header.type !== 0x44 &&
      stored > 0
    ) {
      throw new SquibError('invalid-argument', 'a file with content has a name that ends in a slash');
    }
    this.#sink.entry(entry);
    this.#sink.end();
    this.#reset();
    if (entry.kind === 'directory') this.#skip(stored);
    else this.#state = HEADER;
  }

  #begin(stored: number, sparse: SparseMap | undefined): void {
    const { size } = this.#entry;
    const max = this.#budget.limits.fileBytes;
    if (size > max || size < 0) {
      throw new SquibError('resource-exhausted', `file of ${size} bytes, at most ${max} are taken`);
    }
    if (sparse !== undefined) checkSparseMap(sparse, size, stored, this.#budget.limits.sparseSegments);
    this.#sparse = sparse;
    this.#segment = 0;
    this.#position = 0;
    this.#left = stored;
    this.#sink.entry(this.#entry);
    if (stored > 0) this.#state = DATA;
    else this.#dataDone();
  }

  #data(chunk: Buffer, at: number): number {
    const n = Math.min(this.#left, chunk.length - at);
    const part = at === 0 && n === chunk.length ? chunk : chunk.subarray(at, at + n);
    if (this.#sparse === undefined) this.#sink.data(part);
    else this.#sparseData(part, this.#sparse);
    this.#left -= n;
    if (this.#left === 0) this.#dataDone();
    return at + n;
  }

  #sparseData(part: Buffer, map: SparseMap): void {
    for (let at = 0; at < part.length; ) {
      const offset = map[this.#segment] as number;
      const end = offset + (map[this.#segment + 1] as number);
      if (this.#position < offset) this.#hole(offset);
      const n = Math.min(end - this.#position, part.length - at);
      if (n > 0) this.#sink.data(part.subarray(at, at + n));
      at += n;
      this.#position += n;
      if (this.#position === end) this.#segment += 2;
    }
  }

  #hole(until: number): void {
    this.#sink.hole(until - this.#position);
    this.#position = until;
  }

  #dataDone(): void {
    if (this.#sparse !== undefined && this.#position < this.#entry.size) this.#hole(this.#entry.size);
    this.#sink.end();
    this.#reset();
    this.#left = this.#padding;
    this.#state = this.#left > 0 ? PADDING : HEADER;
  }

  #reset(): void {
    this.#named = false;
    this.#offset = -1;
    this.#longPath = undefined;
    this.#longLink = undefined;
    this.#own = undefined;
    this.#sparse = undefined;
  }
}

const padding = (size: number): number => (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES;

/** GNU ends long names with a NUL. */
function untilZero(bytes: Buffer, at: number, end: number): string {
  const zero = bytes.indexOf(0, at);
  return bytes.toString('latin1', at, zero === -1 || zero > end ? end : zero);
}
