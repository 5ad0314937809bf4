import { SquibError } from '../../../base/errors.ts';

/** Passes over all data that one walk makes at most: sizes, sparse map, content, and one to spare. */
const PASSES = 4;
/** Small images: the fixed part of a walk. */
const BLOCKS_MIN = 4096;

/**
 * Bounds the work that an image can cause. In a sound file system every block belongs to one file,
 * so a walk meets each at most once; a forged one could name the same blocks from a million files.
 */
export class Work {
  readonly #max: number;
  #spent = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Enough for any walk over a sound image of so many blocks. */
  static forImage(blocks: number): Work {
    return new Work(BLOCKS_MIN + PASSES * blocks);
  }

  /** @throws SquibError `resource-exhausted` when the files claim far more blocks than there are. */
  spend(blocks: number): void {
    this.#spent += blocks;
    if (this.#spent <= this.#max) return;
    throw new SquibError(
      'resource-exhausted',
      `more than ${this.#max} blocks to look at: a sound image has fewer, so several files share blocks`,
    );
  }

  /** Starts the count again: for the next pass over the whole image. */
  renew(): void {
    this.#spent = 0;
  }
}
