import { describe, SquibError, toSquibError } from '../../base/errors.ts';

/**
 * What went wrong in the guest in the words and with the code of the runc shim, whose runtime is
 * a program that only has words: containerd takes `not-found` of Create for a missing container,
 * not for a missing command.
 */
export function runtimeError(what: string, thrown: unknown): SquibError {
  const { code } = toSquibError(thrown);
  const isLoss = code === 'unavailable' || code === 'deadline-exceeded' || code === 'data-loss';
  return new SquibError(isLoss ? code : 'unknown', `${what}: ${describe(thrown)}`);
}
