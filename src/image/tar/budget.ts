import { SquibError } from '../../base/errors.ts';
import { TAR_LIMITS, type TarLimits } from './limits.ts';

/** Counts what the layers of one conversion have used of its limits. */
export class TarBudget {
  readonly limits: TarLimits;
  #entries = 0;
  #streamBytes = 0;
  #nameBytes = 0;

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
    if (++this.#entries > this.limits.entries) {
      throw new SquibError('resource-exhausted', `more than ${this.limits.entries} entries`);
    }
  }

  takeStream(bytes: number): void {
    this.#streamBytes += bytes;
    if (this.#streamBytes > this.limits.streamBytes) {
      throw new SquibError('resource-exhausted', `more than ${this.limits.streamBytes} bytes of tar`);
    }
  }

  takeNames(bytes: number): void {
    this.#nameBytes += bytes;
    if (this.#nameBytes > this.limits.nameBytes) {
      throw new SquibError(
        'resource-exhausted',
        `more than ${this.limits.nameBytes} bytes of names, link targets and extended attributes`,
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
