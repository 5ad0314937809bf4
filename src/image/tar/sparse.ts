import { SquibError } from '../../base/errors.ts';
import { BLOCK_BYTES } from './header.ts';
import { decimal, tarNumber } from './number.ts';

/** Where the data of a sparse file lie: offset, length, offset, length, …; holes are between. */
export type SparseMap = number[];

/** Adds the stretches that an old GNU header or one of its extensions lists. */
function addOldGnu(block: Buffer, at: number, count: number, map: SparseMap): void {
  for (let i = 0; i < count; i++) {
    const slot = at + i * 24;
    if (block[slot] === 0 && block[slot + 12] === 0) return;
    map.push(tarNumber(block, slot, 12, 'sparse offset'), tarNumber(block, slot + 12, 12, 'sparse length'));
  }
}

/** Of a header block of type S: the first stretches, the file's length, whether extension blocks follow. */
export function oldGnuSparse(block: Buffer, at: number): { map: SparseMap; size: number; more: boolean } {
  const map: SparseMap = [];
  addOldGnu(block, at + 386, 4, map);
  return { map, size: tarNumber(block, at + 483, 12, 'sparse size'), more: block[at + 482] !== 0 };
}

/** Adds an extension block's stretches to `map`; true when another one follows. */
export function oldGnuExtension(block: Buffer, at: number, map: SparseMap): boolean {
  addOldGnu(block, at, 21, map);
  return block[at + 504] !== 0;
}

/**
 * The map of GNU's pax form 1.0: decimal numbers, a line each, in front of the data: how many
 * stretches, then offset and length of each, filled up to whole blocks.
 */
export class SparseMapReader {
  readonly map: SparseMap = [];
  readonly #segmentsMax: number;
  #count = -1;
  #digits = '';

  constructor(segmentsMax: number) {
    this.#segmentsMax = segmentsMax;
  }

  /** Takes one block; true when the map is complete and the data begin behind it. */
  block(block: Buffer, at: number): boolean {
    for (let i = at; i < at + BLOCK_BYTES; i++) {
      const byte = block[i] as number;
      if (byte !== 0x0a) {
        this.#digits += String.fromCharCode(byte);
        if (this.#digits.length > 16)
          throw new SquibError('invalid-argument', 'sparse map is not made of numbers');
        continue;
      }
      const digits = Buffer.from(this.#digits, 'latin1');
      const value = decimal(digits, 0, digits.length, 'number in the sparse map');
      this.#digits = '';
      if (this.#count < 0) this.#count = checkedCount(value, this.#segmentsMax);
      else this.map.push(value);
      if (this.map.length === this.#count * 2) return true;
    }
    return false;
  }
}

function checkedCount(count: number, max: number): number {
  if (count > max) throw tooMany(count, max);
  return count;
}

const tooMany = (count: number, max: number): SquibError =>
  new SquibError(
    'resource-exhausted',
    `sparse file has ${count} stretches of data, at most ${max} are taken`,
  );

/**
 * Checks that the stretches ascend, lie within the file and add up to what the archive holds.
 * @throws SquibError invalid-argument, resource-exhausted
 */
export function checkSparseMap(map: SparseMap, size: number, stored: number, segmentsMax: number): void {
  if (map.length % 2 !== 0)
    throw new SquibError('invalid-argument', 'sparse map has an offset without a length');
  if (map.length / 2 > segmentsMax) throw tooMany(map.length / 2, segmentsMax);
  let end = 0;
  let sum = 0;
  for (let i = 0; i < map.length; i += 2) {
    const offset = map[i] as number;
    const length = map[i + 1] as number;
    if (offset < end || length < 0 || offset + length > size) {
      throw new SquibError(
        'invalid-argument',
        `sparse map: ${length} bytes at ${offset} overlap the stretch before or exceed the file's ${size} bytes`,
      );
    }
    end = offset + length;
    sum += length;
  }
  if (sum !== stored) {
    throw new SquibError(
      'invalid-argument',
      `sparse map lists ${sum} bytes of data, the archive has ${stored}`,
    );
  }
}
