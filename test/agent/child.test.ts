import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ChildPlan, REPORT_ERROR, REPORT_READY, runChild } from '../../src/agent/child.ts';
import { EACCES, EPERM } from '../../src/agent/sys/errno.ts';
import { CreateContainerRequest } from '../../src/proto/agent.ts';
import { type CallName, type FakeCall, FakeKernel, ProcessEnded } from '../fake/kernel.ts';

const REPORT_FD = 50;
const START_FD = 51;
const S_IFREG = 0o100755;

/** A container with one of everything. */
function plan(change: { noNewPrivileges?: boolean; uid?: number } = {}): ChildPlan {
  const request = CreateContainerRequest.decode(
    CreateContainerRequest.encode({
      id: 'c',
      rootfs: { upperSerial: 'u', readonly: true },
      hostname: 'host',
      domainname: 'domain',
      process: {
        args: ['prog', 'arg'],
        env: ['PATH=/bin', 'A=b'],
        cwd: '/work',
        user: { uid: change.uid ?? 1000, gid: 1001, additionalGids: [7] },
        capabilities: { bounding: 2 ** 40 - 2, effective: 1, permitted: 3, inheritable: 4, ambient: 2 },
        rlimits: [{ resource: 7, soft: 10, hard: 2n ** 64n - 1n }],
        noNewPrivileges: change.noNewPrivileges ?? true,
        oomScoreAdj: -5,
        stdio: { stdoutPort: 2000 },
        seccompFilter: new Uint8Array(16),
      },
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc', flags: 14 },
        { destination: '/data', type: 'bind', source: '/run/data', flags: 4096 + 1 },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', flags: 3, data: 'size=1' },
      ],
      devices: [{ path: '/dev/x/y', mode: 0o20600, major: 1, minor: 2, uid: 3, gid: 4 }],
      sysctls: [{ key: 'kernel.shmmax', value: '9' }],
      readonlyPaths: ['/proc/sys'],
      maskedPaths: ['/proc/kcore'],
    }),
  );
  const process = request.process;
  assert.ok(process);
  return {
    request,
    process,
    root: '/run/squib/c/root',
    stdio: [40, 41, 42],
    report: REPORT_FD,
    start: START_FD,
    joins: [{ cloneFlag: 0x0800_0000, pid: 77 }],
    newNetwork: true,
    newCgroup: true,
  };
}

/** Enough of a kernel for the child: files exist and are executable, the start byte comes. */
function kernel(): FakeKernel {
  const fake = new FakeKernel();
  fake.on('statx', (call) => {
    fake.kernel.w16((call.args[4] as number) + 28, call.texts[1]?.startsWith('/bin') ? S_IFREG : 0o40755);
    return 0;
  });
  fake.on('read', (call) => (call.args[0] === START_FD ? 1 : 0));
  fake.on('readlinkat', -22);
  return fake;
}

function run(fake: FakeKernel, p = plan()): ProcessEnded {
  try {
    runChild(fake.kernel, p);
  } catch (thrown) {
    if (thrown instanceof ProcessEnded) return thrown;
    throw thrown;
  }
  assert.fail('the child returned into the parent');
}

/** The records that the child wrote to the report pipe. */
function reports(fake: FakeKernel): string[] {
  return fake
    .of('write')
    .filter((call) => call.args[0] === REPORT_FD)
    .map((call) => call.texts[1] as string);
}

/** Index of the first call that fits. */
function at(fake: FakeKernel, name: CallName, fits: (call: FakeCall) => boolean = () => true): number {
  const index = fake.calls.findIndex((call) => call.name === name && fits(call));
  assert.ok(index >= 0, `${name} was not called`);
  return index;
}

const arg = (i: number, value: number) => (call: FakeCall) => call.args[i] === value;
const text = (i: number, value: string) => (call: FakeCall) => call.texts[i] === value;

test('a failure at any call is reported once, as one error, and ends the process', () => {
  const names = new Set(run_order(kernel()));
  // Answered by something else than an error: probing (statx, readlinkat), the end itself.
  const tolerant = new Set<CallName>([
    'execve',
    'exit_group',
    'keyctl',
    'statx',
    'readlinkat',
    'write',
    'read',
  ]);
  for (const name of names) {
    if (tolerant.has(name)) continue;
    const fake = kernel().on(name, -EPERM);
    const ended = run(fake);
    if (name === 'close') continue;
    assert.equal(ended.call.name, 'exit_group', name);
    if (name === 'umask') continue;
    const kinds = reports(fake).map((record) => record.charCodeAt(0));
    // With no_new_privs the filter comes after the report that all is well.
    assert.deepEqual(kinds, name === 'seccomp' ? [REPORT_READY, REPORT_ERROR] : [REPORT_ERROR], name);
    assert.equal(fake.of('execve').length, 0, name);
  }
  assert.ok(names.size > 25, [...names].join(' '));
});

function run_order(fake: FakeKernel): CallName[] {
  run(fake);
  return fake.order;
}

test('every single call of the set-up may fail: no failure goes unnoticed or into the parent', () => {
  const whole = kernel();
  run(whole);
  const total = whole.calls.length;
  let failed = 0;
  for (let victim = 0; victim < total; victim++) {
    const fake = kernel();
    const sc = fake.sc.bind(fake);
    let n = 0;
    fake.sc = (nr, ...args) =>
      n++ === victim && whole.order[victim] !== 'exit_group' ? -EACCES : sc(nr, ...args);
    const ended = run(fake);
    const errors = reports(fake).filter((record) => record.charCodeAt(0) === REPORT_ERROR);
    if (ended.call.name === 'execve') continue;
    assert.equal(ended.call.name, 'exit_group');
    if (errors.length > 0) {
      failed++;
      assert.match((errors[0] as string).slice(1), /^(permission-denied|not-found|internal)$/);
    }
  }
  assert.ok(failed > 80, `${failed} of ${total} calls made the set-up fail`);
});

test('the names of step, value and errno are in the record', () => {
  const fake = kernel();
  const p = plan();
  fake.on('mount', (call) => (call.texts[2] === 'tmpfs' && call.texts[0] === 'tmpfs' ? -EPERM : 0));
  const written: Uint8Array[] = [];
  fake.on('write', (call) => {
    if (call.args[0] === REPORT_FD)
      written.push(fake.kernel.copy(call.args[1] as number, call.args[2] as number));
    return call.args[2];
  });
  run(fake, p);
  const record = new TextDecoder().decode(written[0]);
  assert.match(
    record,
    /^.permission-denied.mount tmpfs on "\/dev": mount \/proc\/self\/fd\/\d+ \(tmpfs\): EPERM$/s,
  );
});

test('the order of the set-up', () => {
  const fake = kernel();
  const ended = run(fake);
  assert.deepEqual(ended.call.name, 'exit_group');
  const order = [
    at(fake, 'rt_sigprocmask'),
    at(fake, 'setsid'),
    at(fake, 'dup3'),
    at(fake, 'close_range'),
    at(fake, 'openat', text(1, '/proc/self/oom_score_adj')),
    at(fake, 'openat', text(1, '/proc/77/ns/ipc')),
    at(fake, 'setns', arg(1, 0x0800_0000)),
    at(fake, 'unshare', arg(0, 0x0200_0000)),
    at(fake, 'ioctl'),
    at(fake, 'mount', text(1, '/')),
    at(fake, 'mount', text(2, 'proc')),
    at(fake, 'mount', text(0, '/run/data')),
    at(fake, 'mount', text(2, 'tmpfs')),
    at(fake, 'pivot_root'),
    at(fake, 'umount2'),
    at(fake, 'mknodat', text(1, '/dev/null')),
    at(fake, 'mknodat', text(1, '/dev/x/y')),
    at(fake, 'symlinkat'),
    at(fake, 'mkdirat', text(1, '/work')),
    at(fake, 'mount', (call) => call.texts[1] === '/dev' && (call.args[3] as number) === 35),
    at(fake, 'mount', (call) => call.texts[1] === '/' && (call.args[3] as number) === 4096 + 32 + 1),
    at(fake, 'sethostname'),
    at(fake, 'setdomainname'),
    at(fake, 'openat', text(1, '/proc/sys/kernel/shmmax')),
    at(fake, 'mount', text(0, '/proc/sys')),
    at(fake, 'mount', text(1, '/proc/kcore')),
    at(fake, 'prlimit64'),
    at(fake, 'fchown'),
    at(fake, 'prctl', arg(0, 38)),
    at(fake, 'chdir', text(0, '/work')),
    at(fake, 'prctl', arg(0, 24)),
    at(fake, 'prctl', arg(0, 8)),
    at(fake, 'setgroups'),
    at(fake, 'setresgid'),
    at(fake, 'setresuid'),
    at(fake, 'capset'),
    at(fake, 'prctl', arg(0, 47)),
    at(fake, 'faccessat'),
    at(fake, 'write', (call) => call.args[0] === REPORT_FD && call.texts[1]?.charCodeAt(0) === REPORT_READY),
    at(fake, 'read', arg(0, START_FD)),
    at(fake, 'seccomp'),
    at(fake, 'execve'),
  ];
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
});

test('without no_new_privs the filter goes in while this process still may', () => {
  const fake = kernel();
  run(fake, plan({ noNewPrivileges: false }));
  assert.ok(at(fake, 'seccomp') < at(fake, 'setresuid'));
  assert.equal(fake.of('prctl').filter(arg(0, 38)).length, 0);
  assert.equal(fake.of('seccomp').length, 1);
});

test('descriptors: stdio placed, all others closed but the two pipes', () => {
  const fake = kernel();
  run(fake);
  assert.deepEqual(
    fake.of('dup3').map(({ args }) => args.slice(0, 2)),
    [
      [40, 0],
      [41, 1],
      [42, 2],
    ],
  );
  assert.deepEqual(
    fake.of('close_range').map(({ args }) => args.slice(0, 2)),
    [
      [3, REPORT_FD - 1],
      [START_FD + 1, 0xffff_ffff],
    ],
  );
});

test('what execve gets: the file found in PATH, the arguments, the environment with HOME', () => {
  const fake = kernel();
  const strings = (p: number) => {
    const out: string[] = [];
    for (let q = p; fake.kernel.r32(q) !== 0; q += 8) out.push(fake.kernel.text(fake.kernel.r32(q), 99));
    return out;
  };
  let seen: unknown;
  fake.on('execve', (call) => {
    seen = [call.texts[0], strings(call.args[1] as number), strings(call.args[2] as number)];
    return 0;
  });
  run(fake);
  assert.deepEqual(seen, ['/bin/prog', ['prog', 'arg'], ['PATH=/bin', 'A=b', 'HOME=/']]);
});

test('capabilities and limits as the kernel takes them', () => {
  const fake = kernel();
  let caps: number[] = [];
  fake.on('capset', (call) => {
    caps = [0, 1, 2, 3, 4, 5].map((i) => fake.kernel.r32((call.args[1] as number) + i * 4));
    return 0;
  });
  let limit: number[] = [];
  fake.on('prlimit64', (call) => {
    limit = [0, 4, 8, 12].map((i) => fake.kernel.r32((call.args[2] as number) + i));
    return 0;
  });
  run(fake);
  assert.deepEqual(caps, [1, 3, 4, 0, 0, 0]);
  assert.deepEqual(limit, [10, 0, 0xffff_ffff, 0xffff_ffff]);
  const dropped = fake
    .of('prctl')
    .filter(arg(0, 24))
    .map(({ args }) => args[1]);
  assert.deepEqual(dropped, [0, 40]);
  const raised = fake.of('prctl').filter((call) => call.args[0] === 47 && call.args[1] === 2);
  assert.deepEqual(
    raised.map(({ args }) => args[2]),
    [1],
  );
});

test('nobody starts it: it leaves without a word', () => {
  const fake = kernel().on('read', 0);
  const ended = run(fake);
  assert.deepEqual([ended.call.name, ended.call.args[0]], ['exit_group', 1]);
  assert.equal(fake.of('execve').length, 0);
  assert.equal(reports(fake).length, 1);
});
