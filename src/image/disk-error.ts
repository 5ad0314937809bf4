import { SquibError } from '../base/errors.ts';

/**
 * What a failed write of an image means: a full disk, a quota and a file size limit become
 * `resource-exhausted` with the image's path; anything else comes back as it is.
 */
export function diskError(path: string, thrown: unknown): unknown {
  const code = (thrown as NodeJS.ErrnoException).code ?? '';
  if (!['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code)) return thrown;
  return new SquibError('resource-exhausted', `${path} cannot be written: make room on its disk`, {
    cause: thrown,
  });
}
