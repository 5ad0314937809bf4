/** How often a control call is made. */
const INTERVAL_MS = 10;

/** Makes a control call every INTERVAL_MS, whether the last has been answered or not. */
export class Pinger {
  readonly #call: () => Promise<unknown>;
  readonly #times: number[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #open = new Set<Promise<void>>();

  constructor(call: () => Promise<unknown>) {
    this.#call = call;
    this.#timer = setInterval(() => {
      const one = this.#time();
      this.#open.add(one);
      one.finally(() => this.#open.delete(one)).catch(() => {});
    }, INTERVAL_MS);
  }

  async #time(): Promise<void> {
    const start = performance.now();
    await this.#call();
    this.#times.push(performance.now() - start);
  }

  /** Stops, waits for the calls under way, and gives all round trips in milliseconds. */
  async stop(): Promise<readonly number[]> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    return this.#times;
  }
}
