/** Marks of one pod beyond these are dropped: it is the first container's way that is of interest. */
const MARKS_MAX = 64;

/**
 * When the stations of a pod's way were passed, in milliseconds since the process began. It goes to
 * the log once, at the end, at level debug; bench/start reads it there.
 */
export class Timeline {
  readonly #marks: Record<string, number> = {};
  #count = 0;

  /** Only the first passing of a station counts. */
  mark(station: string): void {
    if (this.#marks[station] !== undefined || this.#count === MARKS_MAX) return;
    this.#marks[station] = Math.round(performance.now() * 100) / 100;
    this.#count++;
  }

  /** Notes what somebody else's clock measured, in milliseconds. */
  note(name: string, ms: number): void {
    this.#marks[name] = ms;
  }

  /** The marks, with `origin`, the process's start on the host's clock in milliseconds. */
  toJSON(): Readonly<Record<string, number>> {
    return { origin: performance.timeOrigin, ...this.#marks };
  }
}
