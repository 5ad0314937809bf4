import type { ErrorCode } from '../../base/errors.ts';
import { SquibError } from '../../base/errors.ts';
import {
  EACCES,
  EEXIST,
  EINVAL,
  EMFILE,
  ENFILE,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENOTDIR,
  EPERM,
  ERRNO_NAMES,
  ESRCH,
} from './errno.ts';

/** A syscall that failed: which one, on what, and the kernel's errno. */
export class SysError extends SquibError {
  readonly call: string;
  readonly errno: number;

  /** @param subject what the call worked on (a path, a descriptor); empty: nothing worth naming. */
  constructor(call: string, errno: number, subject = '') {
    super(codeOf(errno), `${call}${subject === '' ? '' : ` ${subject}`}: ${errnoName(errno)}`);
    this.name = 'SysError';
    this.call = call;
    this.errno = errno;
  }
}

/** `ENOENT` for 2; a number without a name in our table comes as `errno 133`. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
}

function codeOf(errno: number): ErrorCode {
  switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH:
      return 'not-found';
    case EACCES:
    case EPERM:
      return 'permission-denied';
    case EEXIST:
      return 'already-exists';
    case EINVAL:
      return 'invalid-argument';
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
      return 'resource-exhausted';
    default:
      return 'internal';
  }
}
