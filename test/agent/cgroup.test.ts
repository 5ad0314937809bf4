import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cgroup, counter, enableControllers } from '../../src/agent/cgroup.ts';
import { Loop } from '../../src/agent/loop.ts';
import { Resources } from '../../src/proto/agent.ts';
import type { Init } from '../../src/proto/codec.ts';
import { FakeKernel } from '../fake/kernel.ts';

const [ENOENT, EBUSY, EINVAL, ESRCH] = [2, 16, 22, 3];
const PATH = '/sys/fs/cgroup/c';

/** A kernel that notes what is written to which file, and reads these texts once each. */
function withFiles(texts: Readonly<Record<string, string>> = {}) {
  const fake = new FakeKernel();
  const paths = new Map<number, string>();
  const left = new Map<number, string>();
  const writes: string[] = [];
  fake.on('openat', (call) => {
    const fd = fake.fd();
    paths.set(fd, call.texts[1] as string);
    left.set(fd, texts[(call.texts[1] as string).slice(PATH.length + 1)] ?? '');
    return fd;
  });
  fake.on('write', ({ args: [fd = 0, p = 0, n = 0] }) => {
    writes.push(`${paths.get(fd)?.slice(PATH.length + 1)}=${fake.kernel.text(p, n)}`);
    return n;
  });
  fake.on('read', ({ args: [fd = 0, p = 0] }) => {
    const bytes = new TextEncoder().encode(left.get(fd) ?? '');
    left.set(fd, '');
    fake.kernel.bytes(p, bytes.length).set(bytes);
    return bytes.length;
  });
  const make = (resources?: Init<Resources>) =>
    new Cgroup(
      fake.kernel,
      new Loop(fake.kernel),
      'c',
      resources === undefined ? undefined : Resources.decode(Resources.encode(resources)),
    );
  return { fake, writes, make };
}

test('a limit that the kernel refuses: file, value and errno are named, and the cgroup is gone', () => {
  const { fake, make } = withFiles();
  fake.on('write', -EINVAL);
  assert.throws(() => make({ pidsMax: 5 }), /write "5" to pids\.max: write .*pids\.max: EINVAL/);
  assert.deepEqual(
    fake.of('unlinkat').map((call) => call.texts[1]),
    [PATH],
  );
});

test('unified keys that would leave the cgroup are refused', () => {
  for (const key of ['../x.y', 'a/b.c', 'nodot', '']) {
    assert.throws(() => withFiles().make({ unified: [{ key, value: '1' }] }), /is no cgroup file name/, key);
  }
});

test('what each limit becomes', () => {
  const writes = (resources: Init<Resources>) => {
    const made = withFiles();
    made.make(resources);
    return made.writes;
  };
  assert.deepEqual(writes({}), []);
  assert.deepEqual(writes({ memoryMax: 4096 }), ['memory.max=4096', 'memory.swap.max=0']);
  assert.deepEqual(writes({ memoryMax: 4096, swapMax: -1 }), ['memory.max=4096', 'memory.swap.max=max']);
  assert.deepEqual(writes({ memoryMax: 4096, swapMax: 5 }), ['memory.max=4096', 'memory.swap.max=5']);
  assert.deepEqual(writes({ memoryMax: 2n ** 64n - 1n }), ['memory.max=max', 'memory.swap.max=0']);
  assert.deepEqual(writes({ memoryLow: 7 }), ['memory.low=7']);
  assert.deepEqual(writes({ cpuQuotaUs: 50, cpuPeriodUs: 100 }), ['cpu.max=50 100']);
  assert.deepEqual(writes({ cpuQuotaUs: 50 }), ['cpu.max=50 100000']);
  assert.deepEqual(writes({ cpuPeriodUs: 100 }), ['cpu.max=max 100']);
  assert.deepEqual(writes({ cpuWeight: 3, cpusetCpus: '0-1', pidsMax: 9 }), [
    'cpu.weight=3',
    'cpuset.cpus=0-1',
    'pids.max=9',
  ]);
  assert.deepEqual(writes({ unified: [{ key: 'memory.high', value: '1' }] }), ['memory.high=1']);
});

test('a kernel without swap: no file for 0, an error for a limit', () => {
  const swapless = () => {
    const made = withFiles();
    made.fake.on('openat', (call) => (call.texts[1]?.endsWith('swap.max') ? -ENOENT : made.fake.fd()));
    return made;
  };
  swapless().make({ memoryMax: 4096 });
  assert.throws(() => swapless().make({ memoryMax: 4096, swapMax: 5 }), /memory\.swap\.max.*ENOENT/);
});

test('signals: cgroup.kill for SIGKILL, each process for others, those already gone left out', () => {
  const { fake, writes, make } = withFiles({ 'cgroup.procs': '12\n13\n14\n' });
  const cgroup = make();
  cgroup.signal(9);
  assert.deepEqual(writes, ['cgroup.kill=1']);
  fake.once('kill', 0).once('kill', -ESRCH);
  cgroup.signal(15);
  assert.deepEqual(
    fake.of('kill').map(({ args }) => args.slice(0, 2)),
    [
      [12, 15],
      [13, 15],
      [14, 15],
    ],
  );
});

test('out of memory is told once per kill', () => {
  let kills = 0;
  const { fake, make } = withFiles();
  const cgroup = make();
  cgroup.watchOom(() => kills++);
  const events = (n: number) => {
    fake.once('read', ({ args: [, p = 0] }) => {
      const bytes = new TextEncoder().encode(`low 0\noom 9\noom_kill ${n}\noom_group_kill 0\n`);
      fake.kernel.bytes(p, bytes.length).set(bytes);
      return bytes.length;
    });
    cgroup.checkOom(() => kills++);
    return kills;
  };
  assert.deepEqual([events(0), events(1), events(1), events(3)], [0, 1, 1, 2]);
});

test('removal takes along what the container made below', () => {
  const { fake, make } = withFiles();
  const cgroup = make();
  fake.once('unlinkat', -EBUSY);
  fake.once('getdents64', ({ args: [, p = 0] }) => {
    for (const [i, name, type] of [
      [0, 'sub', 4],
      [1, 'cgroup.procs', 8],
    ] as const) {
      fake.kernel.w16(p + i * 40 + 16, 40);
      fake.kernel.w8(p + i * 40 + 18, type);
      const bytes = new TextEncoder().encode(`${name}\0`);
      fake.kernel.bytes(p + i * 40 + 19, bytes.length).set(bytes);
    }
    return 80;
  });
  cgroup.remove();
  assert.deepEqual(
    fake.of('unlinkat').map((call) => call.texts[1]),
    [PATH, `${PATH}/sub`, PATH],
  );
});

test('counters and controllers', () => {
  assert.equal(counter('a 1\nab 2\n', 'ab'), 2);
  assert.equal(counter('a 1\n', 'x'), 0);
  const { fake, writes } = withFiles();
  fake.once('read', ({ args: [, p = 0] }) => {
    fake.kernel.bytes(p, 11).set(new TextEncoder().encode('cpu memory\n'));
    return 11;
  });
  enableControllers(fake.kernel);
  assert.deepEqual(
    writes.map((write) => write.split('=')[1]),
    ['+cpu', '+memory'],
  );
});
