import type { TarBudget } from '../../../src/image/tar/budget.ts';
import type { TarEntry, TarSink } from '../../../src/image/tar/entry.ts';
import { TarScanner } from '../../../src/image/tar/scanner.ts';

export interface Collected extends Omit<TarEntry, 'offset'> {
  offset: number;
  content: Buffer;
  holes: number;
}

/** Keeps everything that a scanner hands over; checks the order of the calls. */
export class Collector implements TarSink {
  readonly entries: Collected[] = [];
  #open = false;

  entry(entry: TarEntry): void {
    if (this.#open) throw new Error('entry before the end of the one before');
    this.#open = true;
    this.entries.push({ ...entry, content: Buffer.alloc(0), holes: 0 });
  }

  data(bytes: Uint8Array): void {
    this.#add(Buffer.from(bytes));
  }

  hole(bytes: number): void {
    this.#last.holes += bytes;
    this.#add(Buffer.alloc(bytes));
  }

  end(): void {
    if (this.#last.content.length !== this.#last.size) throw new Error('content is not as long as it says');
    this.#open = false;
  }

  get #last(): Collected {
    if (!this.#open) throw new Error('no entry is open');
    return this.entries.at(-1) as Collected;
  }

  #add(bytes: Buffer): void {
    this.#last.content = Buffer.concat([this.#last.content, bytes]);
  }
}

/** Scans an archive cut into chunks of `step` bytes. */
export function scan(bytes: Uint8Array, step = bytes.length || 1, budget?: TarBudget): Collected[] {
  const collector = new Collector();
  const scanner = new TarScanner(collector, budget);
  for (let at = 0; at < bytes.length; at += step) {
    // A copy that is wiped afterwards: whoever keeps a view shows it.
    const chunk = Buffer.from(bytes.subarray(at, at + step));
    scanner.push(chunk);
    chunk.fill(0xee);
  }
  scanner.finish();
  return collector.entries;
}
