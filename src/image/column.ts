type Cells = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** Enough for a small image without growing. */
const FIRST_CELLS = 1024;

/** What a large column may waste; every growth costs page faults and may make the engine collect. */
const GROWTH = 1.2;
const LARGE_BYTES = 2 << 20;

/**
 * One field of many records as a growing typed array: off the JavaScript heap, and a record costs
 * its bytes and nothing more. What has not been set reads as 0.
 */
export class Column<T extends Cells> {
  /** The cells; replaced when the column grows, so hold it no longer than until the next `reserve`. */
  cells: T;
  readonly #over: (buffer: ArrayBuffer) => T;

  constructor(over: (buffer: ArrayBuffer) => T, bytes: number) {
    this.#over = over;
    this.cells = over(new ArrayBuffer(bytes));
  }

  /** Makes room for `count` cells. */
  reserve(count: number): void {
    const { cells } = this;
    if (count <= cells.length) return;
    // A transfer frees the old memory at once, or moves it by remapping pages, without any garbage.
    const grown = Math.ceil(cells.length * (cells.byteLength < LARGE_BYTES ? 2 : GROWTH));
    this.cells = this.#over(cells.buffer.transfer(Math.max(count, grown) * cells.BYTES_PER_ELEMENT));
  }
}

export const bytesColumn = (cells = FIRST_CELLS): Column<Uint8Array<ArrayBuffer>> =>
  new Column((buffer) => new Uint8Array(buffer), cells);
export const u16Column = (): Column<Uint16Array<ArrayBuffer>> =>
  new Column((buffer) => new Uint16Array(buffer), FIRST_CELLS * 2);
export const u32Column = (): Column<Uint32Array<ArrayBuffer>> =>
  new Column((buffer) => new Uint32Array(buffer), FIRST_CELLS * 4);
