import type { Stdio } from '../proto/agent.ts';
import type { MuxStream, StreamSink } from '../vsock/stream.ts';
import type { Channel } from './channel.ts';
import { InputStream } from './input.ts';
import type { Loop } from './loop.ts';
import { OutputStream } from './output.ts';
import { F_GETFL, F_SETFL, O_NONBLOCK, O_RDWR } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';

/** What stdio ends are made with. */
export interface StdioParts {
  readonly kernel: Kernel;
  readonly loop: Loop;
  readonly channel: Channel;
}

/** The three ends of one process: here towards the host, and those that the child inherits. */
export class ProcessStdio {
  readonly #kernel: Kernel;
  readonly #ports = new Map<number, InputStream | OutputStream>();
  /** The child's stdin, stdout, stderr; closed here by `handedOver`. */
  readonly child: number[] = [];

  constructor(parts: StdioParts, ports: Stdio | undefined) {
    this.#kernel = parts.kernel;
    try {
      this.#add(parts, ports?.stdinPort ?? 0, true);
      this.#add(parts, ports?.stdoutPort ?? 0, false);
      this.#add(parts, ports?.stderrPort ?? 0, false);
    } catch (thrown) {
      this.close();
      throw thrown;
    }
  }

  #add({ kernel, loop, channel }: StdioParts, port: number, input: boolean): void {
    if (port === 0) {
      this.child.push(kernel.open('/dev/null', O_RDWR));
      return;
    }
    const [read, write] = kernel.pipe2();
    const [theirs, ours] = input ? [read, write] : [write, read];
    this.child.push(theirs);
    try {
      kernel.fcntl(ours, F_SETFL, kernel.fcntl(ours, F_GETFL) | O_NONBLOCK);
      const end = input ? new InputStream(kernel, loop, ours) : new OutputStream(kernel, loop, channel, ours);
      this.#ports.set(port, end);
    } catch (thrown) {
      kernel.close(ours);
      throw thrown;
    }
  }

  /** The stream for one of these ports; undefined: not ours, or taken already. */
  accept(stream: MuxStream): StreamSink | undefined {
    return this.#ports.get(stream.port)?.attach(stream);
  }

  has(port: number): boolean {
    return this.#ports.has(port);
  }

  /** The child has its ends: ours are closed, so that the pipes end when it closes them. */
  handedOver(): void {
    for (const fd of this.child) this.#kernel.close(fd);
    this.child.length = 0;
  }

  /** The process is gone for good: its ports are free; output that is under way still goes out. */
  close(): void {
    this.handedOver();
    for (const end of this.#ports.values()) {
      if (end instanceof InputStream) end.release();
      else end.abandon();
    }
    this.#ports.clear();
  }
}
