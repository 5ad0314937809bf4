/** A run of blocks. */
export interface Run {
  start: number;
  length: number;
}

/** Runs looked through for a fit, and so a bound on the work of one `take`. */
const SEARCH_MAX = 64;

/**
 * Blocks of an image that were written and are needed no more: of files that a later layer
 * replaced. `take` gives them out again; what is left at the end is free in the bitmaps.
 */
export class FreeRuns {
  readonly #runs: Run[] = [];

  add(start: number, length: number): void {
    if (length === 0) return;
    const last = this.#runs.at(-1);
    if (last && last.start + last.length === start) last.length += length;
    else this.#runs.push({ start, length });
  }

  /** @returns the start of that many blocks in a row, now taken; undefined if none is known. */
  take(blocks: number): number | undefined {
    const end = this.#runs.length;
    for (let i = end - 1; i >= Math.max(0, end - SEARCH_MAX); i--) {
      const run = this.#runs[i] as Run;
      if (run.length < blocks) continue;
      const start = run.start;
      run.start += blocks;
      run.length -= blocks;
      if (run.length === 0) this.#runs.splice(i, 1);
      return start;
    }
    return undefined;
  }

  /** By start, neighbours merged. */
  sorted(): Run[] {
    const merged: Run[] = [];
    for (const run of [...this.#runs].sort((a, b) => a.start - b.start)) {
      const last = merged.at(-1);
      if (last && last.start + last.length === run.start) last.length += run.length;
      else merged.push({ ...run });
    }
    return merged;
  }
}
