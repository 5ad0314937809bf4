import { describe } from '../base/errors.ts';

/**
 * What has been set up so far and how to undo it, last first. The agent's synchronous twin of
 * src/base/scope.ts: nothing here may wait.
 */
export class Cleanup {
  readonly #entries: { readonly name: string; readonly undo: () => void }[] = [];

  add(name: string, undo: () => void): void {
    this.#entries.push({ name, undo });
  }

  /** Undoes everything, whatever fails on the way; gives the failures, empty when there was none. */
  run(): string[] {
    const failures: string[] = [];
    for (let entry = this.#entries.pop(); entry !== undefined; entry = this.#entries.pop()) {
      try {
        entry.undo();
      } catch (thrown) {
        failures.push(`${entry.name}: ${describe(thrown)}`);
      }
    }
    return failures;
  }
}
