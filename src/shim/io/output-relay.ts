import type { Duplex } from 'node:stream';
import type { Output } from './output.ts';

/** After the exit: how often it is looked whether the rest of the output still moves. */
const PROBE_MS = 100;

/**
 * After the exit: how long output that nobody reads may hold up the exit's report. Long enough
 * for a containerd that restarts quickly, short enough for a killed, forgotten container.
 */
const UNREAD_MS = 5_000;

/** After the exit: how long the guest may keep an idle stream open (a stray process holds it). */
const IDLE_MS = 2_000;

/** Carries one output stream from the guest to its target, with backpressure. */
export class OutputRelay {
  readonly #guest: Duplex;
  readonly #output: Output;
  #received = 0;
  #written = 0;
  #ended = false;
  #broken = false;

  constructor(guest: Duplex, output: Output) {
    this.#guest = guest;
    this.#output = output;
    const { stream } = output;
    guest.on('data', (chunk: Uint8Array) => {
      this.#received += chunk.length;
      if (this.#broken) return;
      const more = stream.write(chunk, (error) => {
        if (!error) this.#written += chunk.length;
      });
      if (!more) guest.pause();
    });
    stream.on('drain', () => guest.resume());
    stream.on('error', () => this.#targetBroke());
    guest.on('end', () => {
      this.#ended = true;
      guest.end();
    });
    // A stream that is reset ends as well: with the VM, or at the agent's wish.
    guest.on('error', () => {
      this.#ended = true;
    });
    guest.on('close', () => {
      this.#ended = true;
    });
  }

  /**
   * Call when the process has exited. Resolves when all of its output is in the target, or when
   * nobody reads the target any more. The reader sees EOF if there is one; else the target stays
   * open for one that comes back, until `close`.
   */
  async drained(): Promise<void> {
    let unreadMs = 0;
    let idleMs = 0;
    for (;;) {
      const before = this.#written + this.#received;
      if (await this.#settled(PROBE_MS)) break;
      const moved = this.#written + this.#received > before;
      const blocked = this.#written < this.#received;
      unreadMs = moved || !blocked || this.#output.hasReader() ? 0 : unreadMs + PROBE_MS;
      idleMs = moved || blocked ? 0 : idleMs + PROBE_MS;
      if (unreadMs >= UNREAD_MS || idleMs >= IDLE_MS) break;
    }
    if (this.#broken || this.#output.hasReader()) this.close();
  }

  close(): void {
    this.#guest.destroy();
    this.#output.close();
  }

  get #done(): boolean {
    return this.#ended && (this.#broken || this.#written === this.#received);
  }

  /** True as soon as everything has been delivered, false after `ms`. */
  #settled(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const { stream } = this.#output;
      const events = ['end', 'close', 'error'] as const;
      const finish = (done: boolean) => {
        clearTimeout(timer);
        for (const event of events) this.#guest.off(event, check);
        stream.off('error', check);
        resolve(done);
      };
      const check = () => {
        if (this.#done) finish(true);
        // Its callback comes when everything before it is written.
        else if (this.#ended && !stream.destroyed) stream.write('', () => this.#done && finish(true));
      };
      const timer = setTimeout(() => finish(this.#done), ms);
      for (const event of events) this.#guest.on(event, check);
      stream.on('error', check);
      check();
    });
  }

  /** The guest must not block on a target that is gone: the rest is read and dropped. */
  #targetBroke(): void {
    this.#broken = true;
    this.#guest.resume();
  }
}
