import { SquibError } from '../../../base/errors.ts';

/** What a damaged or forged image gets; the message says which structure, which value, what was expected. */
export function corrupt(message: string): SquibError {
  return new SquibError('data-loss', message);
}
