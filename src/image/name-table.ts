import { SquibError } from '../base/errors.ts';
import { bytesColumn, u32Column } from './column.ts';

const NONE = 0;
/** A removed slot of the hash table: probing goes on behind it. */
const GONE = 0xffff_ffff;
const FIRST_SLOTS = 4096;
/** Offsets of names are 32 bits. */
const NAME_BYTES_MAX = 2 ** 32 - 256;

/**
 * The directory entries of a tree: (parent, name) → node, by one hash table over typed arrays,
 * and the entries of each directory as a doubly linked list. Entries are numbered from 1.
 */
export class NameTable {
  #end = 1;
  /** Removed entries, chained through `next`. */
  #free = NONE;
  readonly #parent = u32Column();
  readonly #node = u32Column();
  readonly #next = u32Column();
  readonly #previous = u32Column();
  readonly #nameStart = u32Column();
  readonly #nameLength = bytesColumn(1024);
  readonly #names = bytesColumn(16 << 10);
  #namesEnd = 0;
  /** By directory node: its first entry. */
  readonly #first = u32Column();
  #slots = new Uint32Array(FIRST_SLOTS);
  #slotsUsed = 0;

  /** The name must not be there yet. */
  insert(parent: number, name: string, node: number): void {
    if ((this.#slotsUsed + 1) * 10 > this.#slots.length * 7) this.#rehash();
    const entry = this.#allocate(name.length);
    this.#parent.cells[entry] = parent;
    this.#node.cells[entry] = node;
    const start = this.#nameStart.cells[entry] as number;
    const bytes = this.#names.cells;
    for (let i = 0; i < name.length; i++) bytes[start + i] = name.charCodeAt(i);
    this.#chain(parent, entry);
    const mask = this.#slots.length - 1;
    let slot = hash(parent, name) & mask;
    while (this.#slots[slot] !== NONE && this.#slots[slot] !== GONE) slot = (slot + 1) & mask;
    if (this.#slots[slot] === NONE) this.#slotsUsed++;
    this.#slots[slot] = entry;
  }

  lookup(parent: number, name: string): number | undefined {
    const slot = this.#find(parent, name);
    return slot < 0 ? undefined : this.#node.cells[this.#slots[slot] as number];
  }

  /** @returns the node that had the name. */
  remove(parent: number, name: string): number | undefined {
    const slot = this.#find(parent, name);
    if (slot < 0) return undefined;
    const entry = this.#slots[slot] as number;
    this.#slots[slot] = GONE;
    const next = this.#next.cells[entry] as number;
    const previous = this.#previous.cells[entry] as number;
    if (previous === NONE) this.#first.cells[parent] = next;
    else this.#next.cells[previous] = next;
    if (next !== NONE) this.#previous.cells[next] = previous;
    const node = this.#node.cells[entry] as number;
    this.#release(entry);
    return node;
  }

  /** Removes every entry of a directory. @returns the nodes that had them. */
  removeAll(parent: number): number[] {
    const nodes: number[] = [];
    for (let entry = this.#firstOf(parent); entry !== NONE; entry = this.#firstOf(parent))
      nodes.push(this.remove(parent, this.name(entry)) as number);
    return nodes;
  }

  /** A directory's entries by the bytes of their names. */
  sorted(parent: number): Uint32Array {
    let count = 0;
    for (let e = this.#firstOf(parent); e !== NONE; e = this.#next.cells[e] as number) count++;
    const entries = new Uint32Array(count);
    let at = 0;
    for (let e = this.#firstOf(parent); e !== NONE; e = this.#next.cells[e] as number) entries[at++] = e;
    return entries.sort((a, b) => this.#compare(a, b));
  }

  node(entry: number): number {
    return this.#node.cells[entry] as number;
  }

  name(entry: number): string {
    const bytes = this.nameBytes(entry);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  }

  /** A view, valid until the next insertion. */
  nameBytes(entry: number): Uint8Array {
    const start = this.#nameStart.cells[entry] as number;
    return this.#names.cells.subarray(start, start + (this.#nameLength.cells[entry] as number));
  }

  nameLength(entry: number): number {
    return this.#nameLength.cells[entry] as number;
  }

  #firstOf(parent: number): number {
    return this.#first.cells[parent] ?? NONE;
  }

  #chain(parent: number, entry: number): void {
    this.#first.reserve(parent + 1);
    const first = this.#firstOf(parent);
    this.#previous.cells[entry] = NONE;
    this.#next.cells[entry] = first;
    if (first !== NONE) this.#previous.cells[first] = entry;
    this.#first.cells[parent] = entry;
  }

  /** A removed entry serves again if its name was long enough: replacing files costs no memory. */
  #allocate(nameLength: number): number {
    const reused = this.#free;
    if (reused !== NONE) {
      this.#free = this.#next.cells[reused] as number;
      if ((this.#nameLength.cells[reused] as number) < nameLength) this.#newName(reused, nameLength);
      this.#nameLength.cells[reused] = nameLength;
      return reused;
    }
    const entry = this.#end++;
    for (const column of [this.#parent, this.#node, this.#next, this.#previous, this.#nameStart])
      column.reserve(entry + 1);
    this.#nameLength.reserve(entry + 1);
    this.#newName(entry, nameLength);
    this.#nameLength.cells[entry] = nameLength;
    return entry;
  }

  #newName(entry: number, length: number): void {
    if (this.#namesEnd + length > NAME_BYTES_MAX)
      throw new SquibError(
        'resource-exhausted',
        `file names of more than ${NAME_BYTES_MAX} bytes in one image`,
      );
    this.#names.reserve(this.#namesEnd + length);
    this.#nameStart.cells[entry] = this.#namesEnd;
    this.#namesEnd += length;
  }

  #release(entry: number): void {
    this.#next.cells[entry] = this.#free;
    this.#free = entry;
  }

  #find(parent: number, name: string): number {
    const mask = this.#slots.length - 1;
    for (let slot = hash(parent, name) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot] as number;
      if (entry === NONE) return -1;
      if (entry !== GONE && this.#parent.cells[entry] === parent && this.#isNamed(entry, name)) return slot;
    }
  }

  #isNamed(entry: number, name: string): boolean {
    if (this.#nameLength.cells[entry] !== name.length) return false;
    const start = this.#nameStart.cells[entry] as number;
    const bytes = this.#names.cells;
    for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name.charCodeAt(i)) return false;
    return true;
  }

  #compare(a: number, b: number): number {
    const bytes = this.#names.cells;
    const aStart = this.#nameStart.cells[a] as number;
    const bStart = this.#nameStart.cells[b] as number;
    const aLength = this.#nameLength.cells[a] as number;
    const bLength = this.#nameLength.cells[b] as number;
    const common = Math.min(aLength, bLength);
    for (let i = 0; i < common; i++) {
      const difference = (bytes[aStart + i] as number) - (bytes[bStart + i] as number);
      if (difference !== 0) return difference;
    }
    return aLength - bLength;
  }

  /** Twice the slots, or as many if most of the used ones are of removed entries. */
  #rehash(): void {
    const old = this.#slots;
    const live = old.reduce((count, entry) => (entry === NONE || entry === GONE ? count : count + 1), 0);
    const slots = new Uint32Array(live * 2 >= old.length * 0.7 ? old.length * 2 : old.length);
    const mask = slots.length - 1;
    for (const entry of old) {
      if (entry === NONE || entry === GONE) continue;
      let slot = hash(this.#parent.cells[entry] as number, this.name(entry)) & mask;
      while (slots[slot] !== NONE) slot = (slot + 1) & mask;
      slots[slot] = entry;
    }
    this.#slots = slots;
    this.#slotsUsed = live;
  }
}

/** So that no image can be made of names that all fall into one slot; no output depends on it. */
const SEED = Math.floor(Math.random() * 2 ** 32);

/** FNV-1a over the name, started from the parent and the seed, with a final mix for the low bits. */
function hash(parent: number, name: string): number {
  let h = Math.imul((parent + 1) ^ SEED, 0x9e37_79b1) ^ 0x811c_9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x0100_0193);
  return (h ^ (h >>> 15)) >>> 0;
}
