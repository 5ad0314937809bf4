import { SquibError } from '../base/errors.ts';
import { errnoWords } from './step.ts';
import { AT_FDCWD, S_IFDIR, S_IFMT, STATX_MODE, STATX_TYPE } from './sys/constants.ts';
import { EACCES, ENOENT } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';
import { STATX } from './sys/structs.ts';
import { SysError } from './sys/sys-error.ts';

const X_OK = 1;
const EXECUTE_BITS = 0o111;

/**
 * The file that `args[0]` stands for, by the rules and in the words of Go's exec.LookPath, which
 * runc uses: users know its messages.
 * @param path the process's PATH, '' when it has none.
 * @throws SquibError `not-found` or `permission-denied`.
 */
export function findExecutable(kernel: Kernel, name: string, path: string): string {
  if (name.includes('/')) {
    const why = whyNotExecutable(kernel, name);
    if (why === undefined) return name;
    throw refusal(name, why.errno, `${why.stat ? `stat ${name}: ` : ''}${errnoWords(why.errno)}`);
  }
  for (const dir of path === '' ? [] : path.split(':')) {
    const candidate = `${dir === '' ? '.' : dir}/${name}`;
    if (whyNotExecutable(kernel, candidate) !== undefined) continue;
    if (candidate.startsWith('/')) return candidate;
    throw new SquibError(
      'permission-denied',
      `exec: "${name}": cannot run executable found relative to current directory`,
    );
  }
  throw new SquibError('not-found', `exec: "${name}": executable file not found in $PATH`);
}

function refusal(name: string, errno: number, words: string): SquibError {
  return new SquibError(errno === EACCES ? 'permission-denied' : 'not-found', `exec: "${name}": ${words}`);
}

/** The errno, and whether it is stat's; undefined when it can be executed. By raw calls: most of PATH misses. */
function whyNotExecutable(kernel: Kernel, file: string): { stat: boolean; errno: number } | undefined {
  const p = kernel.alloc(STATX.bytes);
  const at = kernel.cstr(file);
  const found = kernel.raw(kernel.table.statx, AT_FDCWD, at, 0, STATX_TYPE | STATX_MODE, p);
  if (found < 0) return { stat: true, errno: -found };
  const mode = kernel.r16(p + STATX.mode);
  if ((mode & S_IFMT) === S_IFDIR || (mode & EXECUTE_BITS) === 0) return { stat: false, errno: EACCES };
  const allowed = kernel.raw(kernel.table.faccessat, AT_FDCWD, at, X_OK);
  return allowed === 0 ? undefined : { stat: false, errno: -allowed };
}

/** The value of a variable in `KEY=value` strings; the last one counts; '' when absent. */
export function variable(env: readonly string[], key: string): string {
  let value = '';
  for (const entry of env) if (entry.startsWith(`${key}=`)) value = entry.slice(key.length + 1);
  return value;
}

/** The home directory that the container's /etc/passwd has for the user; `/` without one, as runc. */
export function homeOf(kernel: Kernel, uid: number): string {
  let passwd: string;
  try {
    passwd = kernel.readFile('/etc/passwd');
  } catch (thrown) {
    if (thrown instanceof SysError) return '/';
    throw thrown;
  }
  for (const line of passwd.split('\n')) {
    const fields = line.split(':');
    if (fields[2] === String(uid)) return fields[5] || '/';
  }
  return '/';
}

/** ENOENT of execve on a file that exists means its interpreter: say so as Go does not. */
export function execFailure(file: string, thrown: unknown): SquibError {
  if (!(thrown instanceof SysError)) return new SquibError('internal', `exec ${file}: ${String(thrown)}`);
  const interpreter = thrown.errno === ENOENT ? ' (its interpreter or loader is missing)' : '';
  return new SquibError(thrown.code, `exec ${file}: ${errnoWords(thrown.errno)}${interpreter}`);
}
