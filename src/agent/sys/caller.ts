import type { ArchTable } from './arch-table.ts';
import { Arena } from './arena.ts';
import { EAGAIN, EINTR } from './errno.ts';
import type { Sys } from './sys.ts';
import { SysError } from './sys-error.ts';

/** What the calls that transfer bytes answer instead of throwing EAGAIN: it is no failure, and frequent. */
export const WOULD_BLOCK = -1;

/** The ground of the typed calls: the arena, the numbers of this architecture, errno to SysError. */
export class Caller extends Arena {
  readonly sys: Sys;
  readonly table: ArchTable;

  constructor(sys: Sys, table: ArchTable) {
    super(sys);
    this.sys = sys;
    this.table = table;
  }

  /** A syscall as it is: >= 0 or -errno; repeated as long as it is interrupted. */
  raw(nr: number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0): number {
    let result = this.sys.sc(nr, a, b, c, d, e, f);
    while (result === -EINTR) result = this.sys.sc(nr, a, b, c, d, e, f);
    return result;
  }

  /** @throws SysError with the call's name and subject when the result is an errno. */
  done(call: string, result: number, subject?: string | number): number {
    if (result >= 0) return result;
    throw new SysError(call, -result, subject === undefined ? '' : `${subject}`);
  }

  /** As `done`, for calls on descriptors in non-blocking mode: EAGAIN comes as WOULD_BLOCK. */
  protected moved(call: string, result: number, fd: number): number {
    if (result >= 0) return result;
    if (result === -EAGAIN) return WOULD_BLOCK;
    throw new SysError(call, -result, `fd ${fd}`);
  }
}
