import { SquibError } from '../base/errors.ts';

/** A function of the C library, as koffi calls it. */
export type Native = (...args: readonly unknown[]) => number;

/** The C library, and the errno of its last call. */
export interface CLibrary {
  /** @param definition a C prototype, as in 'int flock(int, int)'. */
  func(definition: string): Native;
  errno(): number;
}

/**
 * Loads koffi and with it the C library: for short-lived processes only, since a wrong prototype ends
 * the process.
 * @throws SquibError `failed-precondition` where koffi has no binary for this host.
 */
export async function loadCLibrary(): Promise<CLibrary> {
  try {
    const { default: koffi } = await import('koffi');
    const library = koffi.load('libc.so.6');
    return { func: (definition) => library.func(definition) as Native, errno: () => koffi.errno() };
  } catch (cause) {
    throw new SquibError(
      'failed-precondition',
      'the C library cannot be called: koffi.node is missing or not for this host; install squib again',
      { cause },
    );
  }
}
