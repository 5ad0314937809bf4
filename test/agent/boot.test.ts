import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mountBasics, openPort, PORT_WAIT_MS } from '../../src/agent/boot.ts';
import type { Containers } from '../../src/agent/containers.ts';
import { Modules } from '../../src/agent/modules.ts';
import { endMachine, stopContainers } from '../../src/agent/power.ts';
import type { Reaper } from '../../src/agent/reaper.ts';
import { MountedRoot } from '../../src/agent/rootfs.ts';
import { FakeKernel } from '../fake/kernel.ts';

const [ENOENT, EEXIST, EINVAL, EACCES, EBUSY] = [2, 17, 22, 13, 16];

/** A kernel whose files hold these texts, and whose one directory holds these names. */
function withFiles(files: Readonly<Record<string, string>>, names: readonly string[] = []): FakeKernel {
  const fake = new FakeKernel();
  const open = new Map<number, string>();
  let listed = false;
  fake.on('openat', (call) => {
    const path = call.texts[1] as string;
    if (!(path in files) && !path.startsWith('/sys/class/virtio-ports') && !path.startsWith('/dev'))
      return -ENOENT;
    const fd = fake.fd();
    open.set(fd, files[path] ?? '');
    return fd;
  });
  fake.on('read', ({ args: [fd = 0, p = 0] }) => {
    const bytes = new TextEncoder().encode(open.get(fd) ?? '');
    open.set(fd, '');
    fake.kernel.bytes(p, bytes.length).set(bytes);
    return bytes.length;
  });
  fake.on('getdents64', ({ args: [, p = 0] }) => {
    listed = !listed;
    if (!listed) return 0;
    names.forEach((name, i) => {
      fake.kernel.w16(p + i * 40 + 16, 40);
      fake.kernel.bytes(p + i * 40 + 19, name.length + 1).set(new TextEncoder().encode(`${name}\0`));
    });
    return names.length * 40;
  });
  return fake;
}

test('the port: a named error with the ports there are, when its time is up', () => {
  const fake = withFiles({ '/sys/class/virtio-ports/vport0p2/name': 'org.other\n' }, ['vport0p2']);
  let clock = 0;
  fake.on('clock_gettime', ({ args: [, p = 0] }) => {
    fake.kernel.w64(p, Math.floor(clock / 1000));
    fake.kernel.w64(p + 8, (clock % 1000) * 1e6);
    return 0;
  });
  fake.on('nanosleep', () => {
    clock += 100;
    return 0;
  });
  assert.throws(
    () => openPort(fake.kernel),
    /no virtio-serial port "org\.squib\.agent" within 10000 ms; there are: org\.other$/,
  );
  assert.ok(clock >= PORT_WAIT_MS && clock < PORT_WAIT_MS + 1000);
});

test('the port is found by its name, and waited for while its node is coming', () => {
  const fake = withFiles(
    {
      '/sys/class/virtio-ports/vport0p1/name': 'org.squib.agent\n',
      '/sys/class/virtio-ports/vport0p0/name': '\n',
    },
    ['vport0p0', 'vport0p1'],
  );
  const node = (call: { texts: readonly string[] }) => call.texts[1] === '/dev/vport0p1';
  assert.ok(openPort(fake.kernel) >= 100);
  assert.equal(fake.of('openat').filter(node).length, 1);
  assert.equal((fake.of('openat').find(node)?.args[2] as number) & 0o4002, 0o4002);
});

test('boot: the initial root is left before anything is mounted; 0 to 2 are never free', () => {
  const fake = new FakeKernel();
  let next = 1;
  fake.on('openat', () => next++);
  mountBasics(fake.kernel);
  assert.deepEqual(
    fake.of('mount').map((call) => `${call.texts[0]} ${call.texts[1]} ${call.texts[2]}`),
    ['/ /run ', '. / ', 'devtmpfs /dev devtmpfs', 'proc /proc proc', 'sysfs /sys sysfs'],
  );
  assert.equal(next, 3);
  assert.equal(fake.of('close').length, 0);
  const mounted = new FakeKernel().on('openat', 3);
  mounted.on('mount', (call) => (call.texts[2] === 'devtmpfs' ? -EBUSY : 0));
  mountBasics(mounted.kernel);
  assert.deepEqual([mounted.of('openat').length, mounted.of('close')[0]?.args[0]], [1, 3]);
  assert.throws(
    () => mountBasics(new FakeKernel().on('mount', -EINVAL).kernel),
    /^SquibError: leave the initial root: .*EINVAL/,
  );
});

test('modules: those of the channel first; a failing one is named and stays next', () => {
  const list = { '/modules': 'virtio\nvirtio_console\nsd_mod\noverlay\n' };
  const files = Object.fromEntries(
    ['virtio', 'virtio_console', 'sd_mod', 'overlay'].map((m) => [`/lib/modules/${m}.ko`, '']),
  );
  const fake = withFiles({ ...list, ...files });
  const modules = new Modules(fake.kernel);
  fake.once('finit_module', -EEXIST);
  modules.loadChannel();
  assert.equal(fake.of('finit_module').length, 2);
  fake.once('finit_module', -EINVAL);
  assert.throws(() => modules.loadNext(), /load module sd_mod: finit_module sd_mod: EINVAL/);
  assert.deepEqual([modules.loadNext(), modules.loadNext(), modules.loadNext()], [true, true, false]);
  assert.equal(fake.of('finit_module').length, 5);
  assert.equal(new Modules(new FakeKernel().on('openat', -ENOENT).kernel).loadNext(), false);
});

test('the end: nothing that fails on the way keeps the machine up', () => {
  const fake = new FakeKernel().on('sync', -EINVAL);
  const reaper = { reap: () => assert.fail('broken') } as unknown as Reaper;
  const broken = {
    killAll: () => assert.fail('broken'),
    giveUp: () => assert.fail('broken'),
    get empty(): boolean {
      throw new Error('broken');
    },
  };
  stopContainers(fake.kernel, { all: [broken] } as unknown as Containers, reaper);
  endMachine(fake.kernel);
  assert.deepEqual(fake.order, ['sync', 'reboot']);
});

test('the end waits for killed processes, though not for ever', () => {
  const fake = new FakeKernel();
  const stuck = { killAll() {}, giveUp() {}, empty: false };
  stopContainers(fake.kernel, { all: [stuck] } as unknown as Containers, { reap() {} } as unknown as Reaper);
  const naps = fake.of('nanosleep').length;
  assert.ok(naps > 100 && naps <= 2000, `${naps} naps`);
});

test('the root: order of the mounts, their options, and back in reverse', () => {
  const disks = new Map([
    ['l', '/dev/sda'],
    ['u', '/dev/sdb'],
  ]);
  const fake = new FakeKernel();
  fake.on('statx', (call) => {
    fake.kernel.w16((call.args[4] as number) + 28, 0o40751);
    fake.kernel.w32((call.args[4] as number) + 20, 8);
    return 0;
  });
  const root = new MountedRoot(
    fake.kernel,
    'c',
    { lowerSerial: 'l', upperSerial: 'u', readonly: false },
    disks,
  );
  assert.equal(root.path, '/run/squib/c/root');
  assert.deepEqual(
    fake
      .of('mount')
      .map((call) => [call.texts[0], call.texts[1], call.texts[2], (call.args[3] as number) & 1]),
    [
      ['/dev/sda', '/run/squib/c/lower', 'ext4', 1],
      ['/dev/sdb', '/run/squib/c/upper', 'ext4', 0],
      ['overlay', '/run/squib/c/root', 'overlay', 0],
    ],
  );
  assert.deepEqual(
    fake.of('fchmodat').map((call) => [call.texts[1], call.args[2]]),
    [['/run/squib/c/upper/upper', 0o751]],
  );
  assert.deepEqual(
    fake.of('fchownat').map((call) => call.args[2]),
    [8],
  );
  root.unmount();
  assert.deepEqual(
    fake.of('umount2').map((call) => call.texts[0]),
    ['/run/squib/c/root', '/run/squib/c/upper', '/run/squib/c/lower'],
  );
  assert.ok(root.released);
  fake.on('openat', -EBUSY);
  assert.ok(!root.released);
  fake.on('openat', -ENOENT);
  assert.ok(root.released);
});

test('the root: what the image had in its upper directory keeps its mode; one disk alone is the root', () => {
  const disks = new Map([
    ['l', '/dev/sda'],
    ['u', '/dev/sdb'],
  ]);
  const kept = new FakeKernel().on('mkdirat', -EEXIST);
  new MountedRoot(kept.kernel, 'c', { lowerSerial: 'l', upperSerial: 'u', readonly: false }, disks);
  assert.equal(kept.of('fchmodat').length, 0);
  const alone = new FakeKernel();
  const root = new MountedRoot(
    alone.kernel,
    'c',
    { lowerSerial: '', upperSerial: 'u', readonly: false },
    disks,
  );
  assert.equal(root.path, '/run/squib/c/upper');
  assert.equal(alone.of('mount').length, 1);
  const refused = new FakeKernel().on('mount', (call) => (call.texts[2] === 'overlay' ? -EACCES : 0));
  assert.throws(
    () =>
      new MountedRoot(refused.kernel, 'c', { lowerSerial: 'l', upperSerial: 'u', readonly: false }, disks),
    /overlay \/run\/squib\/c\/root: mount .*EACCES/,
  );
  assert.equal(refused.of('umount2').length, 2);
});
