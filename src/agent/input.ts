import type { MuxStream, StreamSink } from '../vsock/stream.ts';
import type { Loop } from './loop.ts';
import { WOULD_BLOCK } from './sys/caller.ts';
import { EPOLLERR, EPOLLOUT } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';
import { SysError } from './sys/sys-error.ts';

/**
 * What is buffered for a process that does not read; the mux holds the host to it. Less would make
 * the way there wait for credit: a grant takes milliseconds under TCG.
 */
export const STDIN_WINDOW_BYTES = 256 << 10;

/**
 * A process's stdin: the host's stream, and the pipe's write end. Bytes go into the pipe at once;
 * what it does not take waits here, and credit goes back as the pipe takes it.
 */
export class InputStream implements StreamSink {
  readonly window = STDIN_WINDOW_BYTES;
  readonly #kernel: Kernel;
  readonly #loop: Loop;
  #fd: number;
  #stream: MuxStream | undefined;
  readonly #waiting: Uint8Array[] = [];
  #ended = false;

  /** @param fd the pipe's write end, non-blocking; owned once this returns. */
  constructor(kernel: Kernel, loop: Loop, fd: number) {
    this.#kernel = kernel;
    this.#loop = loop;
    this.#fd = fd;
    loop.add(fd, EPOLLOUT, (events) => {
      if (events & EPOLLERR) this.#broken();
      else this.#drain();
    });
  }

  /** Takes the host's stream; the first one only. */
  attach(stream: MuxStream): StreamSink | undefined {
    if (this.#stream !== undefined || this.#fd < 0) return undefined;
    this.#stream = stream;
    return this;
  }

  opened(): void {}
  credit(): void {}

  data(bytes: Uint8Array): void {
    const taken = this.#waiting.length === 0 ? this.#write(bytes) : 0;
    if (taken < bytes.length && this.#fd >= 0) this.#waiting.push(bytes.slice(taken));
  }

  end(): void {
    this.#ended = true;
    this.#drain();
  }

  reset(): void {
    this.#stream = undefined;
    this.release();
  }

  /** Closes the pipe: the process reads what is in it, then the end. */
  release(): void {
    this.#waiting.length = 0;
    if (this.#fd < 0) return;
    this.#loop.remove(this.#fd);
    this.#kernel.close(this.#fd);
    this.#fd = -1;
  }

  #drain(): void {
    for (;;) {
      const chunk = this.#waiting[0];
      if (chunk === undefined) break;
      const taken = this.#write(chunk);
      if (this.#fd < 0) return;
      if (taken < chunk.length) {
        this.#waiting[0] = chunk.subarray(taken);
        return;
      }
      this.#waiting.shift();
    }
    if (!this.#ended) return;
    this.release();
    // The host's direction is closed already; this closes ours, and so the stream.
    if (this.#stream?.state === 'half-closed-remote') this.#stream.shutdown();
  }

  /** How many of the bytes the pipe took; all of them once it is broken. */
  #write(bytes: Uint8Array): number {
    if (this.#fd < 0) return bytes.length;
    let taken = 0;
    const inArena = bytes.buffer === this.#kernel.sys.memory;
    const p = inArena ? this.#kernel.base + bytes.byteOffset : this.#kernel.put(bytes);
    try {
      while (taken < bytes.length) {
        const n = this.#kernel.write(this.#fd, p + taken, bytes.length - taken);
        if (n === WOULD_BLOCK) break;
        taken += n;
      }
    } catch (thrown) {
      if (!(thrown instanceof SysError)) throw thrown;
      this.#broken();
      return bytes.length;
    }
    this.#stream?.consumed(taken);
    return taken;
  }

  /** Nobody reads any more: the host is told to stop. */
  #broken(): void {
    this.release();
    this.#stream?.reset('cancelled');
    this.#stream = undefined;
  }
}
