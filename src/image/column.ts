type Cells = Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** Enough for a small image without growing. */
const FIRST_CELLS = 1024;

/**
 * One field of many records as a growing typed array: off the JavaScript heap, and a record costs
 * its bytes and nothing more. What has not been set reads as 0.
 */
export class Column<T extends Cells> {
  /** The cells; replaced when the column grows, so hold it no longer than until the next `reserve`. */
  cells: T;
  readonly #make: (length: number) => T;

  constructor(make: (length: number) => T, cells = FIRST_CELLS) {
    this.#make = make;
    this.cells = make(cells);
  }

  /** Makes room for `count` cells. */
  reserve(count: number): void {
    if (count <= this.cells.length) return;
    // Half on top, not the double: the old and the new array live side by side for a moment.
    const grown = this.#make(Math.max(count, Math.ceil(this.cells.length * 1.5)));
    grown.set(this.cells);
    this.cells = grown;
  }
}

export const bytesColumn = (cells?: number): Column<Uint8Array> =>
  new Column((n) => new Uint8Array(n), cells);
export const u16Column = (): Column<Uint16Array> => new Column((n) => new Uint16Array(n));
export const u32Column = (): Column<Uint32Array> => new Column((n) => new Uint32Array(n));
export const f64Column = (): Column<Float64Array> => new Column((n) => new Float64Array(n));
