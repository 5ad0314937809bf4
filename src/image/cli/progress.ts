import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { bytesText } from './text.ts';

const INTERVAL_MS = 100;
const STDERR = 2;

/** One line on the terminal that is written over; nothing where stderr is none. */
export class Progress {
  readonly #isShown: boolean;
  #last = 0;
  #isLineOpen = false;

  /** @param isQuiet shows nothing, whatever stderr is. */
  constructor(isQuiet: boolean) {
    this.#isShown = !isQuiet && isatty(STDERR);
  }

  /** May be called for every entry. @param bytes undefined: not counted. */
  show(what: string, entries: number, bytes?: number): void {
    if (!this.#isShown) return;
    const now = performance.now();
    if (now - this.#last < INTERVAL_MS) return;
    this.#last = now;
    this.#isLineOpen = true;
    const size = bytes === undefined ? '' : `, ${bytesText(bytes)}`;
    writeSync(STDERR, `\r\x1b[K${what}: ${entries} entries${size}`);
  }

  /** Takes the line away again. */
  clear(): void {
    if (this.#isLineOpen) writeSync(STDERR, '\r\x1b[K');
    this.#isLineOpen = false;
  }
}
