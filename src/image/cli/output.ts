import { writeSync } from 'node:fs';
import { SquibError } from '../../base/errors.ts';

/** Small pieces are collected up to this. */
const BUFFER_BYTES = 256 * 1024;
/** A pipe whose reader is slow is tried again after this long. */
const RETRY_MS = 2;

/** Synchronous, collected writing to a descriptor that may be a file, a pipe or a terminal. */
export class Output {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #length = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Takes a copy. */
  write(bytes: Uint8Array): void {
    if (this.#length + bytes.length > BUFFER_BYTES) this.flush();
    if (bytes.length >= BUFFER_BYTES) {
      this.#put(bytes);
      return;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  line(text: string): void {
    this.write(Buffer.from(`${text}\n`, 'utf8'));
  }

  /** @throws SquibError `canceled` when nobody reads any more, else `failed-precondition`. */
  flush(): void {
    const length = this.#length;
    this.#length = 0;
    this.#put(this.#buffer.subarray(0, length));
  }

  #put(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      try {
        done += writeSync(this.#fd, bytes, done, bytes.length - done);
      } catch (cause) {
        const { code } = cause as NodeJS.ErrnoException;
        if (code === 'EAGAIN') {
          pause(RETRY_MS);
          continue;
        }
        if (code === 'EPIPE')
          throw new SquibError('canceled', 'the reader of the output went away', { cause });
        throw new SquibError('failed-precondition', 'the output cannot be written', { cause });
      }
    }
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
