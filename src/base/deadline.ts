import { SquibError } from './errors.ts';

/**
 * Settles as `work` does, or rejects with `deadline-exceeded` after `ms` milliseconds. The work
 * itself goes on; its late outcome is swallowed, so the caller must also end it where that matters.
 * @param what names the awaited thing in the error, as in "the guest agent's first frame".
 */
export async function withDeadline<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new SquibError('deadline-exceeded', `${what} did not come within ${ms} ms`));
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    work.catch(() => {});
  }
}

/** Resolves after `ms` milliseconds; does not keep the process alive by itself. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
