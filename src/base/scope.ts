import { describe, SquibError } from './errors.ts';

/** Releases one resource. */
export type Release = () => void | Promise<void>;

interface Entry {
  readonly name: string;
  readonly release: Release;
}

/**
 * Owns resources: what is opened is registered at once and released in reverse order, once.
 * A failing release does not keep the others from running; the failures come out joined.
 */
export class Scope {
  readonly #entries: Entry[] = [];
  #closing: Promise<void> | undefined;

  /** True from the first call of `close` on. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Registers a release under a name that error messages show. On a scope that is already closed
   * the release runs at once, so a late arrival cannot leak.
   * @returns a function that takes the entry off again without running it.
   */
  add(name: string, release: Release): () => void {
    const entry = { name, release };
    if (this.closed) {
      this.#closing = Promise.all([this.#closing, releaseAll([entry])]).then(() => undefined);
      this.#closing.catch(() => {});
      return () => {};
    }
    this.#entries.push(entry);
    return () => {
      const at = this.#entries.indexOf(entry);
      if (at >= 0) this.#entries.splice(at, 1);
    };
  }

  /** Releases everything, last opened first. Later calls get the first call's outcome. */
  close(): Promise<void> {
    this.#closing ??= releaseAll(this.#entries.splice(0).reverse());
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function releaseAll(entries: readonly Entry[]): Promise<void> {
  const failures: string[] = [];
  for (const { name, release } of entries) {
    try {
      await release();
    } catch (thrown) {
      failures.push(`${name}: ${describe(thrown)}`);
    }
  }
  if (failures.length > 0) throw new SquibError('internal', `release failed: ${failures.join('; ')}`);
}
