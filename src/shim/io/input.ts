import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { SquibError } from '../../base/errors.ts';

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** The FIFO that a container's stdin comes from. */
export class Input {
  readonly #socket: Socket;
  #keeper: number | undefined;

  private constructor(socket: Socket, keeper: number) {
    this.#socket = socket;
    this.#keeper = keeper;
  }

  /**
   * Opens without blocking, whether a writer is there or not. The write end that is kept open
   * makes writers come and go without an EOF.
   * @throws SquibError `failed-precondition` when it cannot be opened.
   */
  static open(path: string): Input {
    let reader: number | undefined;
    try {
      reader = openSync(path, O_RDONLY | O_NONBLOCK);
      const keeper = openSync(path, O_WRONLY | O_NONBLOCK);
      const socket = new Socket({ fd: reader, readable: true, writable: false });
      socket.pause();
      return new Input(socket, keeper);
    } catch (thrown) {
      if (reader !== undefined) closeSync(reader);
      throw new SquibError('failed-precondition', `stdin "${path}" cannot be opened`, { cause: thrown });
    }
  }

  /**
   * Carries the bytes to the guest. EOF goes on as a half-close; when the process lets go of its
   * stdin, the FIFO is closed, so that its writer gets EPIPE.
   */
  relay(guest: Duplex): void {
    const socket = this.#socket;
    guest.on('error', () => this.close());
    guest.on('close', () => this.close());
    guest.on('drain', () => socket.resume());
    // The agent never sends on it; reading makes its end and its loss seen.
    guest.resume();
    socket.on('data', (chunk) => {
      if (!guest.write(chunk)) socket.pause();
    });
    socket.on('end', () => guest.end());
    socket.on('error', () => guest.end());
    socket.resume();
  }

  /**
   * CloseIO: gives up our own write end. EOF comes when the last writer is gone too and the FIFO
   * is empty, so nothing that was written is lost.
   */
  closeKeeper(): void {
    if (this.#keeper !== undefined) closeSync(this.#keeper);
    this.#keeper = undefined;
  }

  close(): void {
    this.closeKeeper();
    this.#socket.destroy();
  }
}
