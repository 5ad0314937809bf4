/** How much of the console is kept: a panic with its trace is 4 to 8 KiB. */
export const CONSOLE_BYTES_MAX = 16 * 1024;

/**
 * The last bytes of an output that never ends. The bytes are a guest's and hostile: bounded here,
 * and made printable where they leave as text.
 */
export class OutputTail {
  readonly #ring: Uint8Array;
  #written = 0;

  constructor(capacity = CONSOLE_BYTES_MAX) {
    this.#ring = new Uint8Array(capacity);
  }

  /** Appends; what does not fit pushes the oldest out. */
  push(bytes: Uint8Array): void {
    const size = this.#ring.length;
    const kept = bytes.subarray(Math.max(0, bytes.length - size));
    this.#written += bytes.length - kept.length;
    const at = this.#written % size;
    const first = kept.subarray(0, size - at);
    this.#ring.set(first, at);
    this.#ring.set(kept.subarray(first.length), 0);
    this.#written += kept.length;
  }

  /** What is kept, oldest first. */
  bytes(): Uint8Array {
    const size = this.#ring.length;
    if (this.#written <= size) return this.#ring.slice(0, this.#written);
    const at = this.#written % size;
    const out = new Uint8Array(size);
    out.set(this.#ring.subarray(at), 0);
    out.set(this.#ring.subarray(0, at), size - at);
    return out;
  }

  /** What is kept as text that is safe on a terminal and in a log line (see `printable`). */
  text(): string {
    return printable(this.bytes());
  }
}

/**
 * Text that cannot steer a terminal: LF and tab stay, CR before LF goes, every other control
 * character, and every invisible one that reorders text, becomes \xNN or \u{N}; bytes that are not
 * UTF-8 become U+FFFD. A leading or trailing cut through a character shows as U+FFFD.
 */
export function printable(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .toString('utf8')
    .replace(/\r+\n/g, '\n')
    .replace(/[^\P{C}\n\t]|[\u2028\u2029]/gu, escapeCharacter);
}

function escapeCharacter(character: string): string {
  const point = character.codePointAt(0) ?? 0;
  return point < 0x100 ? `\\x${point.toString(16).padStart(2, '0')}` : `\\u{${point.toString(16)}}`;
}

/** Lines and characters of an output that an error message carries: a screenful. */
const EXCERPT_LINES_MAX = 20;
const EXCERPT_CHARS_MAX = 2000;

/** The end of a long text, for an error message. */
export function excerptTail(text: string): string {
  const lines = text.trimEnd().split('\n').slice(-EXCERPT_LINES_MAX).join('\n');
  return lines.length <= EXCERPT_CHARS_MAX ? lines : `…${lines.slice(-EXCERPT_CHARS_MAX)}`;
}
