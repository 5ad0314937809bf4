/** A channel on a fake kernel, with the host's Mux at the other end of its port. */

import { Channel } from '../../src/agent/channel.ts';
import { Loop } from '../../src/agent/loop.ts';
import type { SquibError } from '../../src/base/errors.ts';
import { Mux } from '../../src/vsock/mux.ts';
import type { MuxStream, StreamSink } from '../../src/vsock/stream.ts';
import { FakeKernel } from '../fake/kernel.ts';

const EAGAIN = 11;
export const PORT_FD = 3;

/** What a descriptor does: bytes to read (then EAGAIN, or the end), room to write, or an errno. */
export class FakeFile {
  readonly toRead: Uint8Array[] = [];
  ended = false;
  /** Bytes that writes still take. */
  room = Number.POSITIVE_INFINITY;
  /** At most this many per write. */
  step = Number.POSITIVE_INFINITY;
  /** Negative errno of the next writes. */
  broken = 0;
  readonly written: number[] = [];
  reads = 0;
}

/** The host's end of a stream: keeps what came. */
export class Receiver implements StreamSink {
  readonly bytes: number[] = [];
  readonly news: string[] = [];
  stream: MuxStream | undefined;
  /** Whether credit goes back. */
  consuming = true;
  opened(): void {
    this.news.push('opened');
  }
  data(bytes: Uint8Array): void {
    this.bytes.push(...bytes);
    if (this.consuming) this.stream?.consumed(bytes.length);
  }
  credit(): void {}
  end(): void {
    this.news.push('end');
  }
  reset(reason: string): void {
    this.news.push(`reset ${reason}`);
  }
}

export class FakeWire {
  readonly fake = new FakeKernel();
  readonly files = new Map<number, FakeFile>();
  readonly port = this.file(PORT_FD);
  readonly loop: Loop;
  readonly channel: Channel;
  readonly host: Mux;
  readonly lost: SquibError[] = [];
  accept: (stream: MuxStream) => StreamSink | undefined = () => undefined;
  #read = 0;

  constructor(options: { readonly hostWindow?: number } = {}) {
    this.fake.on('read', ({ args: [fd = 0, p = 0, n = 0] }) => {
      const file = this.files.get(fd);
      if (file === undefined) return 0;
      file.reads++;
      const chunk = file.toRead[0];
      if (chunk === undefined) return file.ended ? 0 : -EAGAIN;
      const taken = chunk.subarray(0, n);
      this.fake.kernel.bytes(p, taken.length).set(taken);
      if (taken.length === chunk.length) file.toRead.shift();
      else file.toRead[0] = chunk.subarray(n);
      return taken.length;
    });
    this.fake.on('write', ({ args: [fd = 0, p = 0, n = 0] }) => {
      const file = this.files.get(fd);
      if (file === undefined) return n;
      if (file.broken) return file.broken;
      const taken = Math.min(n, file.room, file.step);
      if (taken === 0) return -EAGAIN;
      file.written.push(...this.fake.kernel.bytes(p, taken));
      file.room -= taken;
      return taken;
    });
    this.loop = new Loop(this.fake.kernel);
    this.channel = new Channel(this.fake.kernel, this.loop, PORT_FD, {
      accept: (stream) => this.accept(stream),
      lost: (reason) => this.lost.push(reason),
    });
    this.host = new Mux(
      'host',
      { send: (frame) => this.port.toRead.push(frame), ready: () => {}, accept: () => undefined },
      options.hostWindow === undefined ? {} : { window: options.hostWindow },
    );
    this.host.hello();
    this.channel.mux.hello();
    this.pass();
  }

  file(fd: number): FakeFile {
    const file = new FakeFile();
    this.files.set(fd, file);
    return file;
  }

  /** Tells the loop that these descriptors are ready (EPOLL* bits), as epoll would. */
  ready(...pairs: readonly (readonly [fd: number, events: number])[]): void {
    this.fake.once('epoll_pwait', ({ args: [, p = 0] }) => {
      pairs.forEach(([fd, events], i) => {
        this.fake.kernel.w32(p + i * 12, events);
        this.fake.kernel.w32(p + i * 12 + 4, fd);
      });
      return pairs.length;
    });
    this.loop.turn(true);
  }

  /** One pump of the agent, then the host takes what came. */
  turn(): void {
    this.ready([PORT_FD, 5]);
    this.channel.pump();
    this.deliver();
  }

  /** Hands the host what is on the wire. */
  deliver(): void {
    const bytes = Uint8Array.from(this.port.written.slice(this.#read));
    this.#read = this.port.written.length;
    if (bytes.length > 0) this.host.receive(bytes);
  }

  /** Turns until nothing moves any more. */
  pass(): void {
    for (let before = -1, n = 0; before !== this.port.written.length || this.port.toRead.length > 0; n++) {
      if (n > 10_000) throw new Error('the wire never comes to rest');
      before = this.port.written.length;
      this.turn();
    }
  }

  connect(port: number, receiver: Receiver): MuxStream {
    receiver.stream = this.host.open(port, receiver);
    this.pass();
    return receiver.stream;
  }
}
