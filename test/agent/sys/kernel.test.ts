import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WOULD_BLOCK } from '../../../src/agent/sys/caller.ts';
import {
  AT_FDCWD,
  CLD_EXITED,
  CLD_KILLED,
  EPOLL_CTL_ADD,
  EPOLLIN,
  O_CLOEXEC,
  P_ALL,
  SIGCHLD,
  SIGTERM,
  WNOHANG,
} from '../../../src/agent/sys/constants.ts';
import { EAGAIN, EINTR, EIO, ENOENT, ENOTDIR, EPERM } from '../../../src/agent/sys/errno.ts';
import { deviceNumber } from '../../../src/agent/sys/file-calls.ts';
import { SIGINFO } from '../../../src/agent/sys/structs.ts';
import { errnoName, SysError } from '../../../src/agent/sys/sys-error.ts';
import { SquibError } from '../../../src/base/errors.ts';
import { FakeKernel, ProcessEnded } from '../../fake/kernel.ts';

describe('Kernel: failures', () => {
  it('names the call, the subject and the errno, and maps it to a code', () => {
    const fake = new FakeKernel().on('openat', -ENOENT);
    assert.throws(
      () => fake.kernel.open('/no/such', 0),
      (error: unknown) =>
        error instanceof SysError &&
        error.code === 'not-found' &&
        error.errno === ENOENT &&
        error.message === 'openat /no/such: ENOENT',
    );
    assert.equal(new SysError('x', ENOTDIR).code, 'not-found');
    assert.equal(new SysError('x', EPERM).code, 'permission-denied');
    assert.equal(new SysError('x', EIO).code, 'internal');
    assert.equal(errnoName(4000), 'errno 4000');
  });

  it('repeats an interrupted call, but never a close', () => {
    const fake = new FakeKernel().once('read', -EINTR).once('read', -EINTR).once('read', 3);
    assert.equal(fake.kernel.read(5, fake.base, 10), 3);
    assert.equal(fake.of('read').length, 3);
    fake.once('close', -EINTR);
    fake.kernel.close(5);
    assert.equal(fake.of('close').length, 1);
  });

  it('answers EAGAIN of transfers with WOULD_BLOCK', () => {
    const fake = new FakeKernel().on('read', -EAGAIN).on('write', -EAGAIN);
    assert.equal(fake.kernel.read(5, fake.base, 10), WOULD_BLOCK);
    assert.equal(fake.kernel.write(5, fake.base, 10), WOULD_BLOCK);
  });

  it('lets no memory outside of the arena reach the kernel', () => {
    const fake = new FakeKernel();
    const k = fake.kernel;
    const out = fake.base + fake.size;
    const internal = (error: unknown) => error instanceof SquibError && error.code === 'internal';
    assert.throws(() => k.read(3, out - 4, 5), internal);
    assert.throws(() => k.write(3, 0, 1), internal);
    assert.throws(() => k.ioctl(3, 1, out, 4), internal);
    assert.throws(() => k.readv(3, k.iovecs(fake.base, 4, out, 1), 2), internal);
    assert.throws(() => k.writev(3, k.iovecs(fake.base, 4, fake.base, out), 2), internal);
    assert.deepEqual(fake.order, []);
  });

  it('closes the file of a read or write that failed', () => {
    const fake = new FakeKernel().on('write', -EIO).on('read', -EIO);
    assert.throws(() => fake.kernel.writeFile('/sys/x', 'y'), /write \/sys\/x: EIO/);
    assert.throws(() => fake.kernel.readFile('/sys/x'), /read \/sys\/x: EIO/);
    assert.deepEqual(fake.order, ['openat', 'write', 'close', 'openat', 'read', 'close']);
  });
});

describe('Kernel: what reaches the kernel', () => {
  it('opens close-on-exec always', () => {
    const fake = new FakeKernel();
    fake.kernel.open('/a', 2, 0o600);
    const call = fake.calls[0];
    assert.deepEqual(call?.args.slice(0, 4), [AT_FDCWD, call?.args[1], 2 | O_CLOEXEC, 0o600]);
    assert.equal(call?.texts[1], '/a');
  });

  it('passes absent mount fields as NULL', () => {
    const fake = new FakeKernel();
    fake.kernel.mount({ target: '/t', flags: 5 });
    assert.deepEqual(
      fake.calls[0]?.args.map((arg) => arg !== 0),
      [false, true, false, true, false, false],
    );
  });

  it('writes a text file in one call, of its bytes and not its characters', () => {
    const fake = new FakeKernel();
    fake.kernel.writeFile('/x', 'ä1');
    assert.equal(fake.of('write')[0]?.args[2], 3);
    fake.kernel.writeFile('/x', '');
    assert.equal(fake.of('write')[1]?.args[2], 0);
  });

  it('reads a file over several reads', () => {
    const fake = new FakeKernel();
    for (const part of ['ab', 'c']) {
      fake.once('read', (call) => {
        fake.kernel.bytes(call.args[1] as number, part.length).set(new TextEncoder().encode(part));
        return part.length;
      });
    }
    assert.equal(fake.kernel.readFile('/proc/x'), 'abc');
  });

  it('ends a child by execve or exit', () => {
    const fake = new FakeKernel();
    assert.throws(() => fake.kernel.execve('/bin/sh', ['sh'], []), ProcessEnded);
    assert.throws(() => fake.kernel.exit(3), ProcessEnded);
    fake.once('execve', -ENOENT);
    assert.throws(() => fake.kernel.execve('/bin/sh', ['sh'], []), /execve \/bin\/sh: ENOENT/);
  });

  it('adds SIGCHLD to clone, also to flags at bit 31', () => {
    const fake = new FakeKernel().on('clone', 7);
    assert.equal(fake.kernel.clone(0x8000_0000), 7);
    assert.equal(fake.calls[0]?.args[0], 0x8000_0000 + SIGCHLD);
  });

  it('encodes device numbers as glibc’s makedev does for what fits 32 bits', () => {
    assert.equal(deviceNumber(1, 3), 0x103);
    assert.equal(deviceNumber(8, 16), 0x810);
    assert.equal(deviceNumber(259, 0x12345), 0x1231_0345);
  });
});

describe('Kernel: what comes back', () => {
  const child = (code: number, status: number) => (fake: FakeKernel, p: number) => {
    fake.kernel.w32(p + SIGINFO.pid, 42);
    fake.kernel.w32(p + SIGINFO.code, code);
    fake.kernel.w32(p + SIGINFO.status, status);
  };

  it('tells an exit from a death by signal, and neither from both', () => {
    const fake = new FakeKernel();
    fake.once('waitid', (call) => void child(CLD_EXITED, 3)(fake, call.args[2] as number));
    fake.once('waitid', (call) => void child(CLD_KILLED, SIGTERM)(fake, call.args[2] as number));
    assert.deepEqual(fake.kernel.waitid(P_ALL, 0), { pid: 42, status: 3, signal: 0 });
    assert.deepEqual(fake.kernel.waitid(P_ALL, 0), { pid: 42, status: 143, signal: SIGTERM });
    assert.equal(fake.kernel.waitid(P_ALL, 0, WNOHANG), undefined);
    assert.equal(fake.kernel.waitid(P_ALL, 0, WNOHANG), undefined);
  });

  for (const arch of ['x64', 'arm64'] as const) {
    it(`reads epoll events in the layout of ${arch}`, () => {
      const fake = new FakeKernel(arch);
      const { epollEventBytes, epollEventData } = fake.kernel.table;
      fake.kernel.epollCtl(9, EPOLL_CTL_ADD, 5, EPOLLIN, 0xfedc_ba98);
      const registered = fake.of('epoll_ctl')[0]?.args[3] as number;
      fake.on('epoll_pwait', (call) => {
        for (const at of [0, 1]) {
          const p = (call.args[1] as number) + at * epollEventBytes;
          fake.kernel.w32(p, fake.kernel.r32(registered));
          fake.kernel.w32(p + epollEventData, fake.kernel.r32(registered + epollEventData) + at);
        }
        return 2;
      });
      const seen: number[][] = [];
      fake.kernel.epollWait(9, -1, (data, events) => {
        fake.kernel.beginEvent();
        seen.push([data, events]);
      });
      assert.deepEqual(seen, [
        [0xfedc_ba98, EPOLLIN],
        [0xfedc_ba99, EPOLLIN],
      ]);
    });
  }

  it('blocks signals up to 64', () => {
    const fake = new FakeKernel();
    fake.kernel.signalfd([1, 32, 33, 64]);
    const p = fake.calls[0]?.args[1] as number;
    assert.deepEqual([fake.kernel.r32(p), fake.kernel.r32(p + 4)], [0x8000_0001, 0x8000_0001]);
  });

  it('lists a directory without . and ..', () => {
    const fake = new FakeKernel();
    fake.once('getdents64', (call) => {
      let p = call.args[1] as number;
      for (const name of ['.', '..', 'a', 'long-name-of-a-file']) {
        const bytes = (19 + name.length + 8) & ~7;
        fake.kernel.w16(p + 16, bytes);
        fake.kernel.w8(p + 18, 8);
        fake.kernel.bytes(p + 19, name.length).set(new TextEncoder().encode(name));
        p += bytes;
      }
      return p - (call.args[1] as number);
    });
    assert.deepEqual(fake.kernel.readDir(3), [
      { name: 'a', type: 8 },
      { name: 'long-name-of-a-file', type: 8 },
    ]);
  });
});
