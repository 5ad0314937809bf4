import type { CopyOptions } from '../data-area.ts';
import type { FileStatus } from './file-status.ts';
import type { Libc } from './libc.ts';

/** Below this, reading and writing costs no more than the system calls that would avoid it. */
const LARGE_FILE_BYTES = 64 * 1024;

/** How the content of large files gets into an image: holes stay holes, blocks are shared or copied by the kernel. */
export class FileCopier {
  readonly #libc: Libc;
  readonly #source = new BigUint64Array(1);
  readonly #target = new BigUint64Array(1);
  readonly #offsets = {
    source: new Uint8Array(this.#source.buffer),
    target: new Uint8Array(this.#target.buffer),
  };

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  options(fd: number, status: FileStatus): CopyOptions {
    if (status.size <= LARGE_FILE_BYTES) return {};
    const copyRange: NonNullable<CopyOptions['copyRange']> = (sourceOffset, targetFd, targetOffset, length) =>
      this.#copyRange(fd, sourceOffset, { fd: targetFd, offset: targetOffset, length });
    return status.allocated < status.size
      ? { copyRange, copyRangeMin: LARGE_FILE_BYTES, ranges: this.#ranges(fd, status.size) }
      : { copyRange, copyRangeMin: LARGE_FILE_BYTES };
  }

  *#ranges(fd: number, size: number): Generator<[number, number]> {
    for (let at = 0; at < size; ) {
      const start = this.#libc.seekData(fd, at);
      if (start === undefined) return;
      const end = this.#libc.seekHole(fd, start) ?? size;
      yield [start, end - start];
      at = end;
    }
  }

  /** Whatever ends it early (other file systems, a full disk), the reads and writes that follow say it. */
  #copyRange(
    fd: number,
    sourceOffset: number,
    target: { fd: number; offset: number; length: number },
  ): number {
    let done = 0;
    while (done < target.length) {
      this.#source[0] = BigInt(sourceOffset + done);
      this.#target[0] = BigInt(target.offset + done);
      const copied = this.#libc.copyFileRange(fd, target.fd, this.#offsets, target.length - done);
      if (typeof copied !== 'number' || copied === 0) break;
      done += copied;
    }
    return done;
  }
}
