import { describe, type ErrorCode, SquibError } from '../base/errors.ts';
import { EACCES, ELOOP, ENOENT, ENOEXEC, ENOTDIR, EPERM } from './sys/errno.ts';
import { errnoName, SysError } from './sys/sys-error.ts';

/**
 * Runs one step of a longer undertaking and puts its name before what goes wrong in it.
 * @param name what was being done and with which value, as in `mount tmpfs on "/dev/shm"`.
 */
export function step<T>(name: string, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    throw new SquibError(codeOf(thrown), `${name}: ${describe(thrown)}`);
  }
}

/** Runs something whose failure with one of these errnos is as good as success; gives undefined then. */
export function unless<T>(errnos: readonly number[], run: () => T): T | undefined {
  try {
    return run();
  } catch (thrown) {
    if (thrown instanceof SysError && errnos.includes(thrown.errno)) return undefined;
    throw thrown;
  }
}

export function codeOf(thrown: unknown): ErrorCode {
  return thrown instanceof SquibError ? thrown.code : 'internal';
}

/** The C library's words for an errno that a user of `ctr` knows from runc. */
export function errnoWords(errno: number): string {
  switch (errno) {
    case ENOENT:
      return 'no such file or directory';
    case EACCES:
      return 'permission denied';
    case EPERM:
      return 'operation not permitted';
    case ENOTDIR:
      return 'not a directory';
    case ELOOP:
      return 'too many levels of symbolic links';
    case ENOEXEC:
      return 'exec format error';
    default:
      return errnoName(errno);
  }
}
