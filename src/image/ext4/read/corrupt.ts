import { SquibError } from '../../../base/errors.ts';

/** What a damaged or forged image gets; the message says which structure, which value, what was expected. */
export function corrupt(message: string): SquibError {
  return new SquibError('data-loss', message);
}

/** Runs a codec and puts in front of its errors what was being decoded. */
export function of<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (thrown) {
    if (!(thrown instanceof SquibError)) throw thrown;
    const code = thrown.code === 'unimplemented' ? thrown.code : 'data-loss';
    throw new SquibError(code, `${what}: ${thrown.message}`);
  }
}
