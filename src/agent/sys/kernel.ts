import type { ArchTable } from './arch-table.ts';
import { WOULD_BLOCK } from './caller.ts';
import {
  AF_INET,
  CLOCK_REALTIME,
  EPOLL_CLOEXEC,
  IFF_UP,
  LINUX_REBOOT_MAGIC1,
  LINUX_REBOOT_MAGIC2,
  O_RDONLY,
  RNDADDENTROPY,
  SFD_CLOEXEC,
  SFD_NONBLOCK,
  SIOCGIFFLAGS,
  SIOCSIFFLAGS,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
} from './constants.ts';
import { EINVAL } from './errno.ts';
import { ProcessCalls } from './process-calls.ts';
import { IFREQ, RAND_POOL_INFO, SIGNALFD_SIGINFO, TIMESPEC, UTSNAME } from './structs.ts';
import type { Sys } from './sys.ts';
import { SysError } from './sys-error.ts';

/** One answer of `epollWait`: what was registered as `data`, and EPOLL* bits. */
export type PollHandler = (data: number, events: number) => void;

/** Events taken at a time; more wait for the next round, and the kernel rotates them fairly. */
const EPOLL_EVENTS_MAX = 32;
const SIGSET_BYTES = 8;
const CPU_MASK_BYTES = 128;

/**
 * The kernel as the agent sees it: arena, files, mounts, processes (the classes below this one), and here
 * events, clocks, devices and the machine. Every call throws SysError with its name and errno.
 */
export class Kernel extends ProcessCalls {
  private readonly epollBuffer: number;

  constructor(sys: Sys, table: ArchTable) {
    super(sys, table);
    this.epollBuffer = this.reserve(EPOLL_EVENTS_MAX * table.epollEventBytes).ptr;
  }

  epollCreate(): number {
    return this.done('epoll_create1', this.raw(this.table.epoll_create1, EPOLL_CLOEXEC));
  }
  /** @param operation EPOLL_CTL_*; data below 2^32 comes back with each event. */
  epollCtl(epfd: number, operation: number, fd: number, events = 0, data = fd): void {
    const p = this.alloc(this.table.epollEventBytes);
    this.w32(p, events);
    this.w32(p + this.table.epollEventData, data);
    this.done('epoll_ctl', this.raw(this.table.epoll_ctl, epfd, operation, fd, p), `fd ${fd}`);
  }
  /**
   * Waits (-1: for ever) and hands over every event; gives their number. The handlers run with the events
   * already read out, so a handler may wait, allocate and begin a new event.
   */
  epollWait(epfd: number, timeoutMs: number, handler: PollHandler): number {
    const { epollEventBytes, epollEventData } = this.table;
    const buffer = this.epollBuffer;
    const result = this.raw(
      this.table.epoll_pwait,
      epfd,
      buffer,
      EPOLL_EVENTS_MAX,
      timeoutMs,
      0,
      SIGSET_BYTES,
    );
    const n = this.done('epoll_pwait', result);
    const events: number[] = [];
    for (let i = 0; i < n; i++) {
      const p = buffer + i * epollEventBytes;
      events.push(this.r32(p + epollEventData), this.r32(p));
    }
    for (let i = 0; i < n; i++) handler(events[i * 2] as number, events[i * 2 + 1] as number);
    return n;
  }
  /** A descriptor that these signals (they must be blocked) are read from; non-blocking. */
  signalfd(signals: readonly number[]): number {
    const p = this.signalSet(signals);
    const flags = SFD_CLOEXEC | SFD_NONBLOCK;
    return this.done('signalfd4', this.raw(this.table.signalfd4, -1, p, SIGSET_BYTES, flags));
  }
  /** The next signal of a signalfd, or 0. */
  readSignal(fd: number): number {
    const p = this.alloc(SIGNALFD_SIGINFO.bytes);
    const n = this.read(fd, p, SIGNALFD_SIGINFO.bytes);
    return n === WOULD_BLOCK ? 0 : this.r32(p + SIGNALFD_SIGINFO.signo);
  }
  /** Waits until one of the descriptors has one of its events: gives revents of each, all 0 after `timeoutMs`. */
  poll(wanted: readonly { fd: number; events: number }[], timeoutMs: number): number[] {
    const p = this.alloc(wanted.length * 8 + TIMESPEC.bytes);
    wanted.forEach(({ fd, events }, i) => {
      this.w32(p + i * 8, fd);
      this.w16(p + i * 8 + 4, events);
    });
    const until = p + wanted.length * 8;
    this.w64(until + TIMESPEC.sec, Math.floor(timeoutMs / 1000));
    this.w64(until + TIMESPEC.nsec, (timeoutMs % 1000) * 1e6);
    const result = this.raw(this.table.ppoll, p, wanted.length, timeoutMs < 0 ? 0 : until, 0, SIGSET_BYTES);
    this.done('ppoll', result);
    return wanted.map((_, i) => this.r16(p + i * 8 + 6));
  }

  /** @param clock CLOCK_*. */
  clockGettime(clock: number): { seconds: number; nanos: number } {
    const p = this.alloc(TIMESPEC.bytes);
    this.done('clock_gettime', this.raw(this.table.clock_gettime, clock, p));
    return { seconds: this.r64(p + TIMESPEC.sec), nanos: this.r64(p + TIMESPEC.nsec) };
  }
  /** Sets CLOCK_REALTIME. */
  clockSettime(seconds: number, nanos: number): void {
    const p = this.alloc(TIMESPEC.bytes);
    this.w64(p + TIMESPEC.sec, seconds);
    this.w64(p + TIMESPEC.nsec, nanos);
    this.done('clock_settime', this.raw(this.table.clock_settime, CLOCK_REALTIME, p));
  }
  /** Sleeps; only for places where nothing else could run anyway. */
  sleep(milliseconds: number): void {
    const p = this.alloc(TIMESPEC.bytes);
    this.w64(p + TIMESPEC.sec, Math.floor(milliseconds / 1000));
    this.w64(p + TIMESPEC.nsec, (milliseconds % 1000) * 1e6);
    this.sys.sc(this.table.nanosleep, p, 0);
  }

  /** Loads a module from an open .ko file. */
  finitModule(fd: number, name: string, parameters = ''): void {
    this.done('finit_module', this.raw(this.table.finit_module, fd, this.cstr(parameters), 0), name);
  }
  /** Feeds the RNG and credits 8 bits per byte. */
  addEntropy(seed: Uint8Array): void {
    const p = this.alloc(RAND_POOL_INFO.buf + seed.length);
    this.w32(p + RAND_POOL_INFO.entropyCount, seed.length * 8);
    this.w32(p + RAND_POOL_INFO.bufSize, seed.length);
    this.bytes(p + RAND_POOL_INFO.buf, seed.length).set(seed);
    const fd = this.open('/dev/urandom', O_RDONLY);
    try {
      this.ioctl(fd, RNDADDENTROPY, p, RAND_POOL_INFO.buf + seed.length);
    } finally {
      this.close(fd);
    }
  }
  /** Brings a network interface of this namespace up, e.g. `lo`. */
  interfaceUp(name: string): void {
    const fd = this.done('socket', this.raw(this.table.socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    try {
      const p = this.alloc(IFREQ.bytes);
      for (let i = 0; i < name.length; i++) this.w8(p + IFREQ.name + i, name.charCodeAt(i));
      this.ioctl(fd, SIOCGIFFLAGS, p, IFREQ.bytes);
      this.w16(p + IFREQ.flags, this.r16(p + IFREQ.flags) | IFF_UP);
      this.ioctl(fd, SIOCSIFFLAGS, p, IFREQ.bytes);
    } finally {
      this.close(fd);
    }
  }
  /** uname's release, e.g. `6.1.0-38-cloud-amd64`. */
  kernelRelease(): string {
    const p = this.alloc(UTSNAME.bytes);
    this.done('uname', this.raw(this.table.uname, p));
    return this.text(p + UTSNAME.release, UTSNAME.version - UTSNAME.release);
  }
  /** CPUs that this process may run on: for PID 1 all that are online. */
  cpuCount(): number {
    const p = this.alloc(CPU_MASK_BYTES);
    const n = this.done('sched_getaffinity', this.raw(this.table.sched_getaffinity, 0, CPU_MASK_BYTES, p));
    let count = 0;
    for (let i = 0; i < n; i++) for (let bits = this.r8(p + i); bits !== 0; bits &= bits - 1) count++;
    return count;
  }
  /** A new session keyring, so that a container does not share the agent's. */
  joinSessionKeyring(operation: number): void {
    this.done('keyctl', this.raw(this.table.keyctl, operation, 0));
  }
  /** Powers off or restarts (LINUX_REBOOT_CMD_*); does not return on a real kernel. */
  reboot(command: number): void {
    this.done('reboot', this.raw(this.table.reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command, 0));
  }
  /** inotify for cgroup files such as memory.events: a descriptor, non-blocking. */
  inotifyInit(flags: number): number {
    return this.done('inotify_init1', this.raw(this.table.inotify_init1, flags));
  }
  inotifyAdd(fd: number, path: string, mask: number): number {
    if (mask === 0) throw new SysError('inotify_add_watch', EINVAL, path);
    return this.done(
      'inotify_add_watch',
      this.raw(this.table.inotify_add_watch, fd, this.cstr(path), mask),
      path,
    );
  }
}
