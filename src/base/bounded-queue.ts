import { SquibError } from './errors.ts';

/** Items that `shift` has left behind are dropped from the array once there are this many. */
const COMPACT_AT = 64;

/** A first-in first-out queue that refuses to grow beyond its limit. All operations are O(1). */
export class BoundedQueue<T> {
  readonly #limit: number;
  readonly #what: string;
  #items: (T | undefined)[] = [];
  #head = 0;

  /** @param what names the queue in its error, as in "events for containerd". */
  constructor(limit: number, what: string) {
    this.#limit = limit;
    this.#what = what;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** @throws SquibError `resource-exhausted` when the queue is full; nothing is queued then. */
  push(item: T): void {
    if (this.length >= this.#limit) {
      throw new SquibError('resource-exhausted', `${this.#what}: ${this.#limit} wait already`);
    }
    this.#items.push(item);
  }

  /** The oldest item, or undefined when the queue is empty. */
  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Drops everything. */
  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}
