import { SquibError } from '../base/errors.ts';
import { FRAME_DATA_BYTES_MAX, HEADER_BYTES } from '../vsock/frame.ts';
import { Mux, type MuxSink } from '../vsock/mux.ts';
import type { MuxStream, StreamSink } from '../vsock/stream.ts';
import type { Loop } from './loop.ts';
import type { Region } from './sys/arena.ts';
import { WOULD_BLOCK } from './sys/caller.ts';
import { EPOLLIN, EPOLLOUT, POLLOUT } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';

/** Control frames that wait while the host does not read; beyond it the host is broken. */
export const CONTROL_QUEUE_BYTES_MAX = 8 << 20;
/** Read at a time before anything else gets its turn. */
const IN_BYTES = 64 << 10;
const CONTROL_BYTES = 32 << 10;
/** A whole frame with its header: two writes, since virtio-serial takes 32 KiB at a time. */
const BULK_BYTES = HEADER_BYTES + FRAME_DATA_BYTES_MAX;
/** Bulk frames per turn: bounds what a call waits for before it is read. */
const BULK_PER_TURN = 4;

/** Where bulk data for the host comes from: one stream's pipe. */
export interface BulkSource {
  /** `transfer` may have something to send. */
  readonly sendable: boolean;
  /** Puts one frame, header included, into `out`; gives its length, 0 for none after all. */
  transfer(out: Region): number;
}

/** Who opens streams, and what happens when the host is gone. */
export interface ChannelOwner {
  accept(stream: MuxStream): StreamSink | undefined;
  /** The wire is closed or broken; called once. */
  lost(reason: SquibError): void;
}

/**
 * The serial port as the wire of a Mux. Frames that the Mux makes wait in a queue and go first;
 * bulk data is read from its pipe only when the wire takes it, a frame at a time and in turn, so a
 * control frame waits for at most one bulk frame of ours.
 */
export class Channel {
  readonly mux: Mux;
  readonly #kernel: Kernel;
  readonly #fd: number;
  readonly #owner: ChannelOwner;
  readonly #in: Region;
  readonly #control: Region;
  readonly #bulk: Region;
  readonly #sources: BulkSource[] = [];
  #turn = 0;
  /** Control frames; the first `#sent` bytes of the first are on the wire. */
  #queue: Uint8Array[] = [];
  #queued = 0;
  #sent = 0;
  /** What is being written, and cannot be interrupted: a piece of the arena. */
  #at = 0;
  #left = 0;
  #readable = true;
  #alive = true;

  /** @param fd the port, open for reading and writing, non-blocking. */
  constructor(kernel: Kernel, loop: Loop, fd: number, owner: ChannelOwner) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#owner = owner;
    this.#in = kernel.reserve(IN_BYTES);
    this.#control = kernel.reserve(CONTROL_BYTES);
    this.#bulk = kernel.reserve(BULK_BYTES);
    const sink: MuxSink = {
      send: (frame) => this.#send(frame),
      ready: () => {},
      accept: (stream) => owner.accept(stream),
    };
    this.mux = new Mux('guest', sink);
    loop.add(fd, EPOLLIN | EPOLLOUT, () => {
      this.#readable = true;
    });
  }

  get alive(): boolean {
    return this.#alive;
  }

  addSource(source: BulkSource): void {
    this.#sources.push(source);
  }

  removeSource(source: BulkSource): void {
    const at = this.#sources.indexOf(source);
    if (at >= 0) this.#sources.splice(at, 1);
  }

  /** Reads and writes what can be; true when there is more to do without waiting. */
  pump(): boolean {
    if (!this.#alive) return false;
    try {
      this.#receive();
      const more = this.#transmit();
      return this.#alive && (this.#readable || more);
    } catch (thrown) {
      this.lose(thrown instanceof SquibError ? thrown : new SquibError('internal', String(thrown)));
      return false;
    }
  }

  /** Writes what is queued, waiting for the wire at most `ms` milliseconds at a time. */
  drain(ms: number): void {
    while (this.#alive && !this.#flush()) {
      if (this.#kernel.poll([{ fd: this.#fd, events: POLLOUT }], ms)[0] === 0) return;
    }
  }

  /** Gives the wire up. */
  lose(reason: SquibError): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.mux.close();
    this.#owner.lost(reason);
  }

  #send(frame: Uint8Array): void {
    if (!this.#alive) return;
    this.#queue.push(frame);
    this.#queued += frame.length;
    if (this.#queued > CONTROL_QUEUE_BYTES_MAX) {
      throw new SquibError(
        'resource-exhausted',
        `${this.#queued} bytes of control frames wait for a host that does not read, at most ${CONTROL_QUEUE_BYTES_MAX}`,
      );
    }
  }

  /** Gathers what the port has, a page per read, before the Mux sees it: page by page costs 2.4 times the CPU. */
  #receive(): void {
    let filled = 0;
    let over = false;
    while (this.#readable && filled < this.#in.bytes) {
      const n = this.#kernel.read(this.#fd, this.#in.ptr + filled, this.#in.bytes - filled);
      if (n === WOULD_BLOCK) this.#readable = false;
      else filled += n;
      over = n === 0;
      if (over) break;
    }
    if (filled > 0) {
      this.#kernel.beginEvent();
      this.mux.receive(this.#kernel.bytes(this.#in.ptr, filled));
    }
    if (over) this.lose(new SquibError('unavailable', 'the host has closed the serial stream'));
  }

  /** True when there is bulk data left that the wire would take. */
  #transmit(): boolean {
    for (let i = 0; i < BULK_PER_TURN; i++) {
      if (!this.#flush()) return false;
      const source = this.#next();
      if (source === undefined) return false;
      this.#left = source.transfer(this.#bulk);
      this.#at = this.#bulk.ptr;
    }
    return this.#flush();
  }

  #next(): BulkSource | undefined {
    for (let i = 0; i < this.#sources.length; i++) {
      this.#turn = (this.#turn + 1) % this.#sources.length;
      const source = this.#sources[this.#turn] as BulkSource;
      if (source.sendable) return source;
    }
    return undefined;
  }

  /** Writes the frame under way and the queue; true when all is out. */
  #flush(): boolean {
    for (;;) {
      if (this.#left === 0 && !this.#load()) return true;
      const n = this.#kernel.write(this.#fd, this.#at, this.#left);
      if (n === WOULD_BLOCK) return false;
      this.#at += n;
      this.#left -= n;
    }
  }

  /** Copies as much of the queue as fits into the arena; false when it is empty. */
  #load(): boolean {
    const room = this.#kernel.bytes(this.#control.ptr, this.#control.bytes);
    let filled = 0;
    while (filled < room.length) {
      const frame = this.#queue[0];
      if (frame === undefined) break;
      const n = Math.min(frame.length - this.#sent, room.length - filled);
      room.set(frame.subarray(this.#sent, this.#sent + n), filled);
      filled += n;
      this.#sent += n;
      if (this.#sent < frame.length) break;
      this.#queue.shift();
      this.#sent = 0;
    }
    this.#queued -= filled;
    this.#at = this.#control.ptr;
    this.#left = filled;
    return filled > 0;
  }
}
