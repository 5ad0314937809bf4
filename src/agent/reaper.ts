import type { Loop } from './loop.ts';
import { EPOLLIN, P_ALL, SIGCHLD, WNOHANG } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';

/** Collects every child that ends: the agent's own, and as PID 1 those whose parents have gone. */
export class Reaper {
  readonly #kernel: Kernel;
  readonly #signals: number;
  readonly #watched = new Map<number, (status: number) => void>();

  constructor(kernel: Kernel, loop: Loop) {
    this.#kernel = kernel;
    kernel.blockSignals([SIGCHLD]);
    this.#signals = kernel.signalfd([SIGCHLD]);
    loop.add(this.#signals, EPOLLIN, () => this.reap());
  }

  /** Calls `exited` with exit code, or 128 + signal, once the child has been reaped. */
  watch(pid: number, exited: (status: number) => void): void {
    this.#watched.set(pid, exited);
  }

  reap(): void {
    while (this.#kernel.readSignal(this.#signals) !== 0);
    for (;;) {
      this.#kernel.beginEvent();
      const exit = this.#kernel.waitid(P_ALL, 0, WNOHANG);
      if (exit === undefined) return;
      const exited = this.#watched.get(exit.pid);
      this.#watched.delete(exit.pid);
      exited?.(exit.status);
    }
  }
}
