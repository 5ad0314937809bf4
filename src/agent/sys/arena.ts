import { SquibError } from '../../base/errors.ts';
import { utf8Decode, utf8Encode } from '../../base/utf8.ts';
import type { Sys } from './sys.ts';

/**
 * Room for what one event needs at a time: structs, paths, a process's arguments and environment (the
 * kernel takes at most 2 MiB of these), so twice that.
 */
const SCRATCH_BYTES_MAX = 4 << 20;
const PAGE_BYTES = 4096;
const WORD = 0x1_0000_0000;

/** A piece of the arena that outlives an event, e.g. a stream's buffer. */
export interface Region {
  readonly ptr: number;
  readonly bytes: number;
}

/**
 * The memory that syscalls see. Its lower part is scratch: a bump allocator that `beginEvent` empties,
 * so nothing allocated there needs freeing. The upper part holds regions, page by page.
 */
export class Arena {
  readonly base: number;
  readonly end: number;
  private readonly view: DataView;
  private readonly all: Uint8Array;
  private readonly scratchEnd: number;
  private top: number;
  /** Free regions by address; neighbours are joined. */
  private readonly free: { ptr: number; bytes: number }[];

  constructor(sys: Sys) {
    this.base = sys.base;
    this.end = sys.base + sys.size;
    this.view = new DataView(sys.memory);
    this.all = new Uint8Array(sys.memory);
    this.top = sys.base;
    this.scratchEnd = sys.base + Math.min(SCRATCH_BYTES_MAX, (sys.size >> 1) & -PAGE_BYTES);
    this.free = [{ ptr: this.scratchEnd, bytes: this.end - this.scratchEnd }];
  }

  r8(p: number): number {
    return this.view.getUint8(p - this.base);
  }
  r16(p: number): number {
    return this.view.getUint16(p - this.base, true);
  }
  r32(p: number): number {
    return this.view.getUint32(p - this.base, true);
  }
  /** The same four bytes as a signed number. */
  ri32(p: number): number {
    return this.view.getInt32(p - this.base, true);
  }
  /** Eight bytes as the nearest double. */
  r64(p: number): number {
    return this.r32(p) + this.r32(p + 4) * WORD;
  }
  w8(p: number, value: number): void {
    this.view.setUint8(p - this.base, value);
  }
  w16(p: number, value: number): void {
    this.view.setUint16(p - this.base, value, true);
  }
  w32(p: number, value: number): void {
    this.view.setUint32(p - this.base, value, true);
  }
  /** Writes a whole number below 2^53, or a negative one, as 64 bits. */
  w64(p: number, value: number): void {
    this.w32(p, value % WORD);
    this.w32(p + 4, Math.floor(value / WORD));
  }
  /** Writes 64 bits from their two halves: what no double can hold. */
  w64pair(p: number, low: number, high: number): void {
    this.w32(p, low);
    this.w32(p + 4, high);
  }

  /** Empties the scratch space; whatever pointed there is void. */
  beginEvent(): void {
    this.top = this.base;
  }

  /** Bytes of scratch in use: for gates and tests. */
  get scratchUsed(): number {
    return this.top - this.base;
  }

  /**
   * Scratch of `bytes` bytes, 8-aligned, zeroed, valid until the next `beginEvent`.
   * @throws SquibError `resource-exhausted`.
   */
  alloc(bytes: number): number {
    const p = this.claim(bytes);
    this.all.fill(0, p - this.base, p - this.base + bytes);
    return p;
  }

  /** The same without zeroing: for what is overwritten at once. */
  private claim(bytes: number): number {
    const p = this.top;
    const next = p + ((bytes + 7) & ~7);
    if (!(bytes >= 0) || next > this.scratchEnd) {
      throw new SquibError(
        'resource-exhausted',
        `scratch memory: ${bytes} bytes wanted, ${this.scratchEnd - p} of ${this.scratchEnd - this.base} left`,
      );
    }
    this.top = next;
    return p;
  }

  /** Scratch that holds these 32-bit words. */
  words(...values: readonly number[]): number {
    const p = this.claim(values.length * 4);
    for (let i = 0; i < values.length; i++) this.w32(p + i * 4, values[i] as number);
    return p;
  }

  /** Scratch that holds a copy of these bytes. */
  put(bytes: Uint8Array): number {
    const p = this.claim(bytes.length);
    this.all.set(bytes, p - this.base);
    return p;
  }

  /**
   * Scratch that holds the text as a C string.
   * @throws SquibError `invalid-argument` when the text has a NUL inside: the kernel would see less of it.
   */
  cstr(text: string): number {
    const bytes = utf8Encode(text);
    if (bytes.includes(0)) {
      throw new SquibError(
        'invalid-argument',
        `text with a NUL byte inside: "${text.split('\0').join('\\0')}"`,
      );
    }
    const p = this.claim(bytes.length + 1);
    this.all.set(bytes, p - this.base);
    this.w8(p + bytes.length, 0);
    return p;
  }

  /** Scratch that holds a NULL-ended array of C strings, as execve takes it. */
  cstrs(texts: readonly string[]): number {
    const p = this.claim((texts.length + 1) * 8);
    for (let i = 0; i < texts.length; i++) this.w64pair(p + i * 8, this.cstr(texts[i] as string), 0);
    this.w64pair(p + texts.length * 8, 0, 0);
    return p;
  }

  /** Scratch that holds a struct iovec array of these (pointer, length) pairs. */
  iovecs(...parts: readonly number[]): number {
    const p = this.claim(parts.length * 8);
    for (let i = 0; i < parts.length; i++) this.w64(p + i * 8, parts[i] as number);
    return p;
  }

  /** A view of arena bytes; it changes with them, and is only good while the memory is. */
  bytes(p: number, n: number): Uint8Array {
    this.check(p, n);
    return this.all.subarray(p - this.base, p - this.base + n);
  }

  /** A copy of arena bytes. */
  copy(p: number, n: number): Uint8Array {
    return this.bytes(p, n).slice();
  }

  /** The C string at `p`, at most `max` bytes of it. */
  text(p: number, max: number): string {
    const bytes = this.bytes(p, max);
    const nul = bytes.indexOf(0);
    return utf8Decode(nul < 0 ? bytes : bytes.subarray(0, nul));
  }

  /** Moves arena bytes; the ranges may overlap. */
  move(to: number, from: number, n: number): void {
    this.check(to, n);
    this.check(from, n);
    this.all.copyWithin(to - this.base, from - this.base, from - this.base + n);
  }

  /**
   * The guard of every typed call: the kernel writes wherever it is told to, so only ranges of the
   * arena pass.
   */
  check(p: number, n: number): void {
    if (!(p >= this.base && n >= 0 && p + n <= this.end)) {
      throw new SquibError('internal', `memory ${p}+${n} is not in the arena ${this.base}..${this.end}`);
    }
  }

  /**
   * Memory of whole pages that stays until `release`: first fit. Its content is undefined.
   * @throws SquibError `resource-exhausted`.
   */
  reserve(bytes: number): Region {
    const want = Math.max(1, Math.ceil(bytes / PAGE_BYTES)) * PAGE_BYTES;
    for (let i = 0; i < this.free.length; i++) {
      const hole = this.free[i] as { ptr: number; bytes: number };
      if (hole.bytes < want) continue;
      const region = { ptr: hole.ptr, bytes: want };
      hole.ptr += want;
      hole.bytes -= want;
      if (hole.bytes === 0) this.free.splice(i, 1);
      return region;
    }
    throw new SquibError('resource-exhausted', `arena: no ${want} bytes in one piece are left`);
  }

  /** Gives a region back; each one once. */
  release(region: Region): void {
    let at = 0;
    while (at < this.free.length && (this.free[at] as Region).ptr < region.ptr) at++;
    const before = this.free[at - 1];
    const after = this.free[at];
    const end = region.ptr + region.bytes;
    if ((before && before.ptr + before.bytes > region.ptr) || (after && end > after.ptr)) {
      throw new SquibError('internal', `arena: region ${region.ptr}+${region.bytes} is released twice`);
    }
    const hole = { ptr: region.ptr, bytes: region.bytes };
    this.free.splice(at, 0, hole);
    this.join(at);
    this.join(at - 1);
  }

  /** Joins the hole at `at` with its right neighbour if they touch. */
  private join(at: number): void {
    const left = this.free[at];
    const right = this.free[at + 1];
    if (!left || !right || left.ptr + left.bytes !== right.ptr) return;
    left.bytes += right.bytes;
    this.free.splice(at + 1, 1);
  }
}
