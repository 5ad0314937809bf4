import { SquibError } from '../../base/errors.ts';

/** PATH_MAX of Linux, with the zero at the end. */
const PATH_BYTES_MAX = 4096;

/** One path at a time as the raw bytes that system calls take, in a buffer that is used again. */
export class HostPath {
  readonly #bytes = Buffer.alloc(PATH_BYTES_MAX);
  #length = 0;

  /**
   * @param path absolute, one character per byte (latin1).
   * @throws SquibError `unimplemented` for a path longer than the kernel takes.
   */
  set(path: string): this {
    if (path.length >= PATH_BYTES_MAX) {
      throw new SquibError(
        'unimplemented',
        `path of ${path.length} bytes, at most ${PATH_BYTES_MAX - 1}: ${path.slice(0, 200)}…`,
      );
    }
    this.#length = this.#bytes.write(path, 'latin1');
    this.#bytes[this.#length] = 0;
    return this;
  }

  /** With the zero at its end, for the C library. */
  get terminated(): Uint8Array {
    return this.#bytes;
  }

  /** For Node. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** The bytes of a path that came as text, one character each: what this folder's functions take. */
export function pathFromText(path: string): string {
  return Buffer.from(path, 'utf8').toString('latin1');
}
