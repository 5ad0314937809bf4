import { CLOCK_MONOTONIC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLET } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';

/** Called with EPOLL* bits when a watched descriptor changes. */
export type Ready = (events: number) => void;

interface Timer {
  readonly due: number;
  readonly run: () => void;
}

/**
 * The agent's one thread: descriptors by edge-triggered epoll, and timers. Edge-triggered, so a
 * source that cannot be served now costs no system call: its owner remembers that it is ready.
 */
export class Loop {
  readonly #kernel: Kernel;
  readonly #epoll: number;
  readonly #watched = new Map<number, Ready>();
  #timers: Timer[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#epoll = kernel.epollCreate();
  }

  /** Watches a descriptor for EPOLL* bits; a descriptor that is ready already is reported too. */
  add(fd: number, events: number, ready: Ready): void {
    this.#kernel.epollCtl(this.#epoll, EPOLL_CTL_ADD, fd, events + EPOLLET);
    this.#watched.set(fd, ready);
  }

  /**
   * To be called before the descriptor is closed: a forked child that still holds a copy would keep
   * the registration alive otherwise. Does nothing for one that is not watched.
   */
  remove(fd: number): void {
    if (this.#watched.delete(fd)) this.#kernel.epollCtl(this.#epoll, EPOLL_CTL_DEL, fd);
  }

  /** Milliseconds of CLOCK_MONOTONIC. */
  now(): number {
    const { seconds, nanos } = this.#kernel.clockGettime(CLOCK_MONOTONIC);
    return seconds * 1000 + nanos / 1e6;
  }

  /** Runs `run` once after `ms` milliseconds; gives a function that calls it off. */
  after(ms: number, run: () => void): () => void {
    const timer = { due: this.now() + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** One round: waits unless `busy`, then calls whoever is ready or due. */
  turn(busy: boolean): void {
    this.#kernel.beginEvent();
    this.#kernel.epollWait(this.#epoll, busy ? 0 : this.#timeout(), (fd, events) => {
      this.#kernel.beginEvent();
      this.#watched.get(fd)?.(events);
    });
    if (this.#timers.length > 0) this.#runDue();
  }

  #timeout(): number {
    if (this.#timers.length === 0) return -1;
    let due = Number.POSITIVE_INFINITY;
    for (const timer of this.#timers) due = Math.min(due, timer.due);
    return Math.max(0, Math.ceil(due - this.now()));
  }

  #runDue(): void {
    const now = this.now();
    const due = this.#timers.filter((timer) => timer.due <= now);
    if (due.length === 0) return;
    this.#timers = this.#timers.filter((timer) => timer.due > now);
    for (const timer of due) {
      this.#kernel.beginEvent();
      timer.run();
    }
  }
}
