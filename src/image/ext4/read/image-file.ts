import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { SquibError } from '../../../base/errors.ts';
import { corrupt } from './corrupt.ts';

/** Metadata is read by pages of this size: several inodes or directory blocks per call. */
const PAGE_BYTES = 16 * 1024;
/** The cache's bound is PAGES × PAGE_BYTES = 2 MiB, whatever the image says. */
const PAGES = 128;

/** An image that is only read; every read stays inside the file's size at the opening. */
export class ImageFile {
  readonly path: string;
  readonly fd: number;
  readonly size: number;
  /** Direct-mapped: page number p can only be in slot p % PAGES. */
  readonly #pages: { number: number; bytes: Uint8Array }[] = [];

  private constructor(path: string, fd: number, size: number) {
    this.path = path;
    this.fd = fd;
    this.size = size;
  }

  /** @throws SquibError `not-found`, or `invalid-argument` for what is not a regular file. */
  static open(path: string): ImageFile {
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (thrown) {
      const missing = (thrown as NodeJS.ErrnoException).code === 'ENOENT';
      throw new SquibError(missing ? 'not-found' : 'failed-precondition', `"${path}" cannot be opened`, {
        cause: thrown,
      });
    }
    const stat = fstatSync(fd);
    if (!stat.isFile()) {
      closeSync(fd);
      throw new SquibError('invalid-argument', `"${path}" is not a regular file; expected an ext4 image`);
    }
    return new ImageFile(path, fd, stat.size);
  }

  close(): void {
    closeSync(this.fd);
  }

  /** The bytes as a view that is valid until the next call; at most one page. */
  view(position: number, length: number): Uint8Array {
    this.#check(position, length);
    const number = Math.floor(position / PAGE_BYTES);
    const at = position - number * PAGE_BYTES;
    if (at + length <= PAGE_BYTES) return this.#page(number).subarray(at, at + length);
    const joined = new Uint8Array(length);
    this.readInto(joined, position);
    return joined;
  }

  /** Fills `target`, past the cache. */
  readInto(target: Uint8Array, position: number): void {
    this.#check(position, target.length);
    for (let done = 0; done < target.length; ) {
      const count = readSync(this.fd, target, done, target.length - done, position + done);
      if (count === 0)
        throw corrupt(`"${this.path}" was cut at byte ${position + done} while it was being read`);
      done += count;
    }
  }

  #page(number: number): Uint8Array {
    const slot = number % PAGES;
    const cached = this.#pages[slot];
    if (cached?.number === number) return cached.bytes;
    const page = cached ?? { number, bytes: new Uint8Array(PAGE_BYTES) };
    page.number = -1;
    this.#pages[slot] = page;
    const start = number * PAGE_BYTES;
    this.readInto(page.bytes.subarray(0, Math.min(PAGE_BYTES, this.size - start)), start);
    page.number = number;
    return page.bytes;
  }

  #check(position: number, length: number): void {
    if (position >= 0 && length >= 0 && position + length <= this.size) return;
    throw corrupt(`byte ${position}+${length} is outside "${this.path}", which has ${this.size} bytes`);
  }
}
