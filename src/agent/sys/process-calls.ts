import {
  _LINUX_CAPABILITY_VERSION_3,
  CLD_EXITED,
  PRIO_PROCESS,
  SECCOMP_SET_MODE_FILTER,
  SIG_SETMASK,
  SIGCHLD,
  WEXITED,
} from './constants.ts';
import { ECHILD } from './errno.ts';
import { MountCalls } from './mount-calls.ts';
import { CAP_DATA, CLONE_ARGS, RLIMIT64, SIGINFO, SOCK_FILTER, SOCK_FPROG } from './structs.ts';

/** How a child ended. */
export interface ChildExit {
  readonly pid: number;
  /** The exit code, or 128 + the signal that killed it. */
  readonly status: number;
  /** The signal, 0 when it exited by itself. */
  readonly signal: number;
}

/** 64 bits as two halves: capability sets, resource limits. */
export interface U64 {
  readonly low: number;
  readonly high: number;
}

/** sizeof(sigset_t) as the kernel has it. */
const SIGSET_BYTES = 8;
/** The highest signal number. */
const SIGNAL_MAX = 64;

/** Calls that make, change, wait for and signal processes. */
export class ProcessCalls extends MountCalls {
  /**
   * fork() with CLONE_* flags: gives the child's pid here and 0 in the child, which is a copy of this
   * interpreter; it must end in `execve` or `exit`, never return into the event loop.
   */
  clone(flags: number): number {
    return this.done('clone', this.raw(this.table.clone, flags + SIGCHLD));
  }
  /** As `clone`, with the child starting in the cgroup of `cgroupFd` (flags then hold CLONE_INTO_CGROUP). */
  clone3(flags: number, cgroupFd = 0): number {
    const p = this.alloc(CLONE_ARGS.bytes);
    this.w64(p + CLONE_ARGS.flags, flags);
    this.w64(p + CLONE_ARGS.exitSignal, SIGCHLD);
    this.w64(p + CLONE_ARGS.cgroup, cgroupFd);
    return this.done('clone3', this.raw(this.table.clone3, p, CLONE_ARGS.bytes));
  }
  /** Returns only by throwing. */
  execve(path: string, args: readonly string[], env: readonly string[]): never {
    const file = this.cstr(path);
    const argv = this.cstrs(args);
    const result = this.raw(this.table.execve, file, argv, this.cstrs(env));
    this.done('execve', result < 0 ? result : -1, path);
    throw new Error('unreachable');
  }
  /** Ends this process. (It only returns on a fake kernel.) */
  exit(code: number): void {
    this.raw(this.table.exit_group, code);
  }
  /**
   * Reaps a child: the one with that pid (P_PID) or any (P_ALL, 0).
   * @param options WNOHANG, WNOWAIT; undefined is the answer of WNOHANG when none has ended, and of any
   *   wait when there is no child at all.
   */
  waitid(idType: number, id: number, options = 0): ChildExit | undefined {
    const p = this.alloc(SIGINFO.bytes);
    const result = this.raw(this.table.waitid, idType, id, p, options | WEXITED, 0);
    if (result === -ECHILD) return undefined;
    this.done('waitid', result, id === 0 ? '' : `pid ${id}`);
    const pid = this.r32(p + SIGINFO.pid);
    if (pid === 0) return undefined;
    const status = this.r32(p + SIGINFO.status);
    const exited = this.r32(p + SIGINFO.code) === CLD_EXITED;
    return exited ? { pid, status, signal: 0 } : { pid, status: 128 + status, signal: status };
  }
  getpid(): number {
    return this.raw(this.table.getpid);
  }
  /** @param pid below 0: the process group; signal 0 only asks whether it is there. */
  kill(pid: number, signal: number): void {
    this.done('kill', this.raw(this.table.kill, pid, signal), `pid ${pid}`);
  }
  setsid(): void {
    this.done('setsid', this.raw(this.table.setsid));
  }
  setpriority(nice: number): void {
    this.done('setpriority', this.raw(this.table.setpriority, PRIO_PROCESS, 0, nice));
  }
  /** Sets the mask of blocked signals (numbers from 1); all others are let through. */
  blockSignals(signals: readonly number[]): void {
    const p = this.signalSet(signals);
    this.done('rt_sigprocmask', this.raw(this.table.rt_sigprocmask, SIG_SETMASK, p, 0, SIGSET_BYTES));
  }
  /** Scratch with a sigset_t of these signals. */
  protected signalSet(signals: readonly number[]): number {
    let low = 0;
    let high = 0;
    for (const signal of signals) {
      if (signal <= 32) low |= 1 << (signal - 1);
      else if (signal <= SIGNAL_MAX) high |= 1 << (signal - 33);
    }
    return this.words(low, high);
  }
  unshare(flags: number): void {
    this.done('unshare', this.raw(this.table.unshare, flags));
  }
  /** @param type the CLONE_NEW* that the descriptor must be of, 0: any. */
  setns(fd: number, type: number): void {
    this.done('setns', this.raw(this.table.setns, fd, type), `fd ${fd}`);
  }
  sethostname(name: string): void {
    const p = this.cstr(name);
    this.done('sethostname', this.raw(this.table.sethostname, p, this.bytes(p, MAX_NAME).indexOf(0)), name);
  }
  setdomainname(name: string): void {
    const p = this.cstr(name);
    this.done(
      'setdomainname',
      this.raw(this.table.setdomainname, p, this.bytes(p, MAX_NAME).indexOf(0)),
      name,
    );
  }
  /** Sets this process's limit on an RLIMIT_* resource. */
  setrlimit(resource: number, soft: U64, hard: U64): void {
    const p = this.alloc(RLIMIT64.bytes);
    this.w64pair(p + RLIMIT64.cur, soft.low, soft.high);
    this.w64pair(p + RLIMIT64.max, hard.low, hard.high);
    this.done('prlimit64', this.raw(this.table.prlimit64, 0, resource, p, 0), `resource ${resource}`);
  }
  /** prctl with plain numbers. */
  prctl(option: number, a = 0, b = 0, c = 0, d = 0): number {
    return this.done('prctl', this.raw(this.table.prctl, option, a, b, c, d), `option ${option}`);
  }
  capset(effective: U64, permitted: U64, inheritable: U64): void {
    const header = this.words(_LINUX_CAPABILITY_VERSION_3, 0);
    const data = this.alloc(CAP_DATA.bytes * 2);
    this.capData(data, effective.low, permitted.low, inheritable.low);
    this.capData(data + CAP_DATA.bytes, effective.high, permitted.high, inheritable.high);
    this.done('capset', this.raw(this.table.capset, header, data));
  }
  private capData(p: number, effective: number, permitted: number, inheritable: number): void {
    this.w32(p + CAP_DATA.effective, effective);
    this.w32(p + CAP_DATA.permitted, permitted);
    this.w32(p + CAP_DATA.inheritable, inheritable);
  }
  setgroups(gids: readonly number[]): void {
    this.done('setgroups', this.raw(this.table.setgroups, gids.length, this.words(...gids)));
  }
  /** Real, effective and saved group id. */
  setresgid(gid: number): void {
    this.done('setresgid', this.raw(this.table.setresgid, gid, gid, gid), `gid ${gid}`);
  }
  /** Real, effective and saved user id. */
  setresuid(uid: number): void {
    this.done('setresuid', this.raw(this.table.setresuid, uid, uid, uid), `uid ${uid}`);
  }
  /** Installs a filter: struct sock_filter[] in native byte order. */
  seccomp(filter: Uint8Array, flags = 0): void {
    const code = this.put(filter);
    const p = this.alloc(SOCK_FPROG.bytes);
    this.w16(p + SOCK_FPROG.len, filter.length / SOCK_FILTER.bytes);
    this.w64(p + SOCK_FPROG.filter, code);
    this.done('seccomp', this.raw(this.table.seccomp, SECCOMP_SET_MODE_FILTER, flags, p));
  }
}

/** The longest host or domain name the kernel keeps is 64; the call itself tells of a longer one. */
const MAX_NAME = 4096;
