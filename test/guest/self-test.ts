/**
 * Runs inside the C host, on the engine and a real kernel: one line per check on standard error. What the
 * fake kernel cannot tell (struct layouts, numbers, that a cloned interpreter works) shows here.
 * host.test.ts runs it on this machine and as PID 1 of a microVM.
 */
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  CLOCK_MONOTONIC,
  CLONE_NEWUTS,
  DT_DIR,
  EPOLL_CTL_ADD,
  EPOLLHUP,
  EPOLLIN,
  O_RDONLY,
  O_WRONLY,
  P_ALL,
  P_PID,
  POLLIN,
  PR_SET_NAME,
  PROC_SUPER_MAGIC,
  RESOLVE_IN_ROOT,
  RLIMIT_NOFILE,
  S_IFCHR,
  S_IFDIR,
  S_IFMT,
  SIGCHLD,
  SIGKILL,
  SIGTERM,
  WNOHANG,
} from '../../src/agent/sys/constants.ts';
import { Kernel } from '../../src/agent/sys/kernel.ts';
import type { Host } from '../../src/agent/sys/sys.ts';
import { ARM64 } from '../../src/agent/sys/syscalls-arm64.ts';
import { X64 } from '../../src/agent/sys/syscalls-x64.ts';

declare const host: Host;

const k = new Kernel(host.sys, host.sys.arch === 'x64' ? X64 : ARM64);

function say(text: string): void {
  const p = k.cstr(`self-test: ${text}\n`);
  k.write(2, p, k.bytes(p, k.scratchUsed - (p - k.base)).indexOf(0));
}

function equal(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${String(actual)}, expected ${String(expected)}`);
}

/** Runs `body` in a cloned interpreter and gives how that ended. */
function inChild(flags: number, body: () => number): number {
  const pid = k.clone(flags);
  if (pid === 0) {
    try {
      k.exit(body());
    } catch (error) {
      say(`in the child: ${String(error)}`);
      k.exit(99);
    }
  }
  const exit = k.waitid(P_PID, pid);
  equal(exit?.pid, pid, 'pid of the reaped child');
  return exit?.status ?? -1;
}

const CHECKS: readonly (readonly [string, () => void])[] = [
  ['dev', () => k.mount({ source: 'dev', target: '/dev', type: 'devtmpfs' })],
  ['proc', () => k.mount({ source: 'proc', target: '/proc', type: 'proc' })],
  ['statfs', () => equal(k.statfsType('/proc'), PROC_SUPER_MAGIC, 'type of /proc')],
  ['signals', () => k.blockSignals([SIGCHLD, SIGTERM])],
  [
    'signalfd',
    () => {
      const fd = k.signalfd([SIGTERM]);
      equal(k.readSignal(fd), 0, 'no signal yet');
      k.kill(k.getpid(), SIGTERM);
      equal(k.poll([{ fd, events: POLLIN }], 1000)[0], POLLIN, 'poll');
      equal(k.readSignal(fd), SIGTERM, 'the signal');
      k.close(fd);
    },
  ],
  [
    'pipe and epoll',
    () => {
      const [from, to] = k.pipe2();
      const epoll = k.epollCreate();
      k.epollCtl(epoll, EPOLL_CTL_ADD, from, EPOLLIN, 0xf000_0001);
      const none = () => {
        throw new Error('an event of an empty pipe');
      };
      equal(k.epollWait(epoll, 0, none), 0, 'events of an empty pipe');
      k.writev(to, k.iovecs(k.cstr('ab'), 2, k.cstr('cd'), 2), 2);
      k.close(to);
      let seen = '';
      k.epollWait(epoll, 1000, (data, events) => {
        seen = `${data} ${events}`;
      });
      equal(seen, `${0xf000_0001} ${EPOLLIN | EPOLLHUP}`, 'data and events');
      const p = k.alloc(8);
      equal(k.read(from, p, 8), 4, 'bytes read');
      equal(k.text(p, 8), 'abcd', 'text');
      equal(k.read(from, p, 8), 0, 'end of file');
    },
  ],
  [
    'stat',
    () => {
      const root = k.stat(AT_FDCWD, '/');
      equal(root.mode & S_IFMT, S_IFDIR, 'mode of /');
      const node = k.stat(AT_FDCWD, '/dev/kmsg', AT_SYMLINK_NOFOLLOW);
      equal(`${node.mode & S_IFMT} ${node.rdevMajor}:${node.rdevMinor}`, `${S_IFCHR} 1:11`, '/dev/kmsg');
    },
  ],
  [
    'directories',
    () => {
      const names = k.readDir(k.open('/', O_RDONLY));
      equal(names.find((entry) => entry.name === 'proc')?.type, DT_DIR, 'type of /proc in /');
      equal(
        names.some((entry) => entry.name === '.'),
        false,
        '. in the list',
      );
      equal(k.readlinkat(AT_FDCWD, '/proc/self'), `${k.getpid()}`, '/proc/self');
    },
  ],
  [
    'openat2',
    () =>
      k.close(
        k.openat2(k.open('/proc', O_RDONLY), '/../self', { flags: O_RDONLY, resolve: RESOLVE_IN_ROOT }),
      ),
  ],
  [
    'files',
    () => {
      k.writeFile('/proc/self/comm', 'self-test');
      equal(k.readFile('/proc/self/comm'), 'self-test\n', 'comm');
    },
  ],
  [
    'exit status',
    () =>
      equal(
        inChild(0, () => 7),
        7,
        'status',
      ),
  ],
  [
    'a thrown error in the child',
    () =>
      equal(
        inChild(0, () => k.open('/no/such', O_WRONLY)),
        99,
        'status',
      ),
  ],
  [
    'death by signal',
    () =>
      equal(
        inChild(0, () => {
          k.kill(k.getpid(), SIGKILL);
          return 0;
        }),
        128 + SIGKILL,
        'status',
      ),
  ],
  [
    'names in a namespace of its own',
    () => {
      const status = inChild(CLONE_NEWUTS, () => {
        k.sethostname('box');
        k.setdomainname('example');
        return k.readFile('/proc/sys/kernel/hostname') === 'box\n' ? 0 : 1;
      });
      equal(status, 0, 'status');
      equal(k.readFile('/proc/sys/kernel/hostname') === 'box\n', false, 'name outside');
    },
  ],
  [
    'limits and credentials',
    () => {
      const status = inChild(0, () => {
        k.setrlimit(RLIMIT_NOFILE, { low: 70, high: 0 }, { low: 80, high: 0 });
        k.prctl(PR_SET_NAME, k.cstr('checked'));
        k.setgroups([5, 6]);
        k.setresgid(1001);
        k.setresuid(1000);
        const none = { low: 0, high: 0 };
        k.capset(none, none, none);
        const text = k.readFile('/proc/self/status');
        const limits = k.readFile('/proc/self/limits');
        const wanted = [
          'Name:\tchecked',
          'Uid:\t1000\t1000',
          'Gid:\t1001\t1001',
          'Groups:\t5 6',
          'CapEff:\t0000000000000000',
        ];
        for (const line of wanted) if (!text.includes(line)) throw new Error(`no ${line} in ${text}`);
        return limits.includes('70                   80') ? 0 : 1;
      });
      equal(status, 0, 'status');
    },
  ],
  ['no child left', () => equal(k.waitid(P_ALL, 0, WNOHANG), undefined, 'a child')],
  ['clock', () => equal(k.clockGettime(CLOCK_MONOTONIC).nanos < 1e9, true, 'nanos')],
  ['machine', () => equal(k.cpuCount() > 0 && k.kernelRelease().length > 2, true, 'cpus and release')],
  ['loopback', () => k.interfaceUp('lo')],
  ['entropy', () => k.addEntropy(new Uint8Array(32).fill(7))],
  ['arguments', () => equal(host.args.length > 0, true, 'args')],
];

let failed = 0;
for (const [name, check] of CHECKS) {
  k.beginEvent();
  try {
    check();
    say(`ok ${name}`);
  } catch (error) {
    failed++;
    say(`FAIL ${name}: ${error instanceof Error ? `${error.message}\n${error.stack}` : String(error)}`);
  }
}
k.beginEvent();
say(`${CHECKS.length} checks, ${failed} failed`);
if (host.args.includes('throw') || host.env.includes('throw=1')) throw new Error('asked to');
