import { SquibError } from '../../base/errors.ts';
import { TAR_LIMITS, type TarLimits } from './limits.ts';

/** Counts what the layers of one conversion have used of its limits. */
export class TarBudget {
  readonly limits: TarLimits;
  #entries = 0;
  #implied = 0;
  #streamBytes = 0;
  #nameBytes = 0;
  #attributeBytes = 0;

  constructor(limits: Partial<TarLimits> = {}) {
    this.limits = { ...TAR_LIMITS, ...limits };
  }

  get entries(): number {
    return this.#entries;
  }

  get streamBytes(): number {
    return this.#streamBytes;
  }

  takeEntry(): void {
    this.#entries++;
    this.#checkCount();
  }

  /** A directory that no entry describes costs the same: one entry can bring two thousand. */
  takeImplied(): void {
    this.#implied++;
    this.#checkCount();
  }

  #checkCount(): void {
    if (this.#entries + this.#implied > this.limits.entries) {
      const implied = this.#implied > 0 ? `, ${this.#implied} of them directories that only paths name` : '';
      throw new SquibError('resource-exhausted', `more than ${this.limits.entries} entries${implied}`);
    }
  }

  takeStream(bytes: number): void {
    this.#streamBytes += bytes;
    if (this.#streamBytes > this.limits.streamBytes) {
      throw new SquibError('resource-exhausted', `more than ${this.limits.streamBytes} bytes of tar`);
    }
  }

  takeName(name: string): void {
    this.#nameBytes += name.length;
    if (this.#nameBytes > this.limits.nameBytes) {
      throw new SquibError('resource-exhausted', `more than ${this.limits.nameBytes} bytes of names`);
    }
  }

  takeAttribute(bytes: number): void {
    this.#attributeBytes += bytes;
    if (this.#attributeBytes > this.limits.attributeBytes) {
      throw new SquibError(
        'resource-exhausted',
        `more than ${this.limits.attributeBytes} bytes of link targets and extended attributes`,
      );
    }
  }

  /** Refuses a declared size at once, before its bytes come or do not come. */
  checkDeclared(bytes: number): void {
    const left = this.limits.streamBytes - this.#streamBytes;
    if (bytes > left) {
      throw new SquibError('resource-exhausted', `declares ${bytes} bytes, at most ${left} more are taken`);
    }
  }
}
