import { HEADER_BYTES } from '../vsock/frame.ts';
import type { MuxStream, StreamSink } from '../vsock/stream.ts';
import type { BulkSource, Channel } from './channel.ts';
import type { Loop } from './loop.ts';
import type { Region } from './sys/arena.ts';
import { WOULD_BLOCK } from './sys/caller.ts';
import { EPOLLIN } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';

/**
 * A process's stdout or stderr: the pipe's read end, and the stream that takes what comes out. The
 * bytes go from the pipe into the arena behind their frame's header and from there to the port;
 * script never sees them. What no stream takes waits in the pipe.
 */
export class OutputStream implements StreamSink, BulkSource {
  /** The host sends nothing on it. */
  readonly window = 0;
  readonly #kernel: Kernel;
  readonly #loop: Loop;
  readonly #channel: Channel;
  #fd: number;
  #stream: MuxStream | undefined;
  #readable = true;

  /** @param fd the pipe's read end, non-blocking; owned once this returns. */
  constructor(kernel: Kernel, loop: Loop, channel: Channel, fd: number) {
    this.#kernel = kernel;
    this.#loop = loop;
    this.#channel = channel;
    this.#fd = fd;
    loop.add(fd, EPOLLIN, () => {
      this.#readable = true;
    });
    channel.addSource(this);
  }

  /** Takes the host's stream; the first one only. */
  attach(stream: MuxStream): StreamSink | undefined {
    if (this.#stream !== undefined || this.#fd < 0) return undefined;
    this.#stream = stream;
    return this;
  }

  get sendable(): boolean {
    return this.#readable && this.#stream !== undefined && this.#stream.sendable > 0;
  }

  transfer(out: Region): number {
    const stream = this.#stream as MuxStream;
    const room = Math.min(stream.sendable, out.bytes - HEADER_BYTES);
    const n = this.#kernel.read(this.#fd, out.ptr + HEADER_BYTES, room);
    if (n === WOULD_BLOCK) {
      this.#readable = false;
      return 0;
    }
    if (n === 0) {
      this.#release();
      stream.shutdown();
      return 0;
    }
    stream.claim(n, this.#kernel.bytes(out.ptr, HEADER_BYTES), 0);
    return HEADER_BYTES + n;
  }

  opened(): void {}
  data(): void {}
  credit(): void {}
  end(): void {}

  /** The host has lost interest: the writers get EPIPE. */
  reset(): void {
    this.#release();
  }

  /** The container goes: closes the pipe unless a stream is still emptying it. */
  abandon(): void {
    if (this.#stream === undefined) this.#release();
  }

  #release(): void {
    if (this.#fd < 0) return;
    this.#channel.removeSource(this);
    this.#loop.remove(this.#fd);
    this.#kernel.close(this.#fd);
    this.#fd = -1;
  }
}
