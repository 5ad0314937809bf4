import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeDevices } from '../../src/agent/devices.ts';
import { makeReadonly, maskPaths } from '../../src/agent/masks.ts';
import { mountInRoot, remountReadonly } from '../../src/agent/mounts.ts';
import { Mount } from '../../src/proto/agent.ts';
import type { Init } from '../../src/proto/codec.ts';
import { FakeKernel } from '../fake/kernel.ts';

const [ENOENT, ENOTDIR, EEXIST, EACCES] = [2, 20, 17, 13];
const ROOT = '/r';
const [RDONLY, REMOUNT, BIND, REC] = [1, 32, 4096, 16384];
const SYMLINK = 0o120777;

const spec = (m: Init<Mount>): Mount => Mount.decode(Mount.encode(m));

/** A kernel where everything exists with this mode. */
function withMode(mode = 0o40755): FakeKernel {
  const fake = new FakeKernel().on('readlinkat', -22).on('openat2', 9);
  return fake.on('statx', (call) => {
    fake.kernel.w16((call.args[4] as number) + 28, mode);
    return 0;
  });
}

/** source, type, flags, data of every mount. */
const mounts = (fake: FakeKernel) =>
  fake.of('mount').map((call) => [call.texts[0], call.texts[2], call.args[3], call.texts[4]]);

function mount(m: Init<Mount>, fake = withMode()): FakeKernel {
  mountInRoot(fake.kernel, ROOT, spec(m));
  return fake;
}

test('what is refused, with the mount in the message', () => {
  assert.throws(
    () => mount({ type: 'tmpfs', destination: 'a' }),
    /^SquibError: mount tmpfs on "a": .*not absolute/,
  );
  for (const type of ['proc', 'sysfs']) {
    assert.throws(
      () => mount({ type, destination: '/p' }, withMode(SYMLINK)),
      /"\/p" must be an ordinary directory/,
    );
  }
  assert.throws(
    () => mount({ type: 'tmpfs', destination: '/t' }, withMode().on('mount', -EACCES)),
    /mount tmpfs on "\/t": .*EACCES/,
  );
  assert.throws(
    () => mount({ type: 'bind', source: '/gone', destination: '/t' }, withMode().on('statx', -ENOENT)),
    /mount bind on "\/t": statx \/gone: ENOENT/,
  );
});

test('every target is a descriptor opened inside the root', () => {
  const fake = mount({
    type: 'bind',
    source: '/s',
    destination: '/a/../b',
    flags: BIND + RDONLY,
    propagation: 1 << 18,
  });
  assert.equal(fake.of('mount').length, 3);
  for (const call of fake.of('mount')) assert.equal(call.texts[1], '/proc/self/fd/9');
  for (const call of fake.of('openat2'))
    assert.equal(fake.kernel.r32((call.args[2] as number) + 16) & 16, 16);
});

test('a tmpfs takes the mode of what it covers, and is not read-only yet', () => {
  const fake = mount(
    { type: 'tmpfs', source: 'x', destination: '/t', flags: 2 + RDONLY, data: 'size=1' },
    withMode(0o41777),
  );
  assert.deepEqual(mounts(fake), [['x', 'tmpfs', 2, 'mode=1777,size=1']]);
  const missing = withMode().once('openat2', -ENOENT).once('openat2', -ENOENT);
  assert.deepEqual(
    mounts(mount({ type: 'tmpfs', source: 'x', destination: '/t', data: 'size=1' }, missing))[0]?.[3],
    'size=1',
  );
});

test('cgroup is cgroup2 without the options of version 1', () => {
  const fake = mount({
    type: 'cgroup',
    source: 'cgroup',
    destination: '/sys/fs/cgroup',
    flags: 15,
    data: 'xattr,name=systemd',
  });
  assert.deepEqual(mounts(fake), [['cgroup', 'cgroup2', 15, '']]);
});

test('a bind mount: recursive where asked, other flags by a remount', () => {
  assert.deepEqual(mounts(mount({ type: 'bind', source: '/s', destination: '/d', flags: BIND + REC })), [
    ['/s', '', BIND + REC, ''],
  ]);
  assert.deepEqual(
    mounts(mount({ type: 'bind', source: '/s', destination: '/d', flags: BIND + REC + RDONLY + 2 })),
    [
      ['/s', '', BIND + REC, ''],
      ['', '', BIND + REMOUNT + RDONLY + 2, ''],
    ],
  );
});

test('a missing bind target is a file for a file and a directory for a directory', () => {
  const file = withMode(0o100644).once('openat2', -ENOENT);
  mount({ type: 'bind', source: '/s', destination: '/etc/new', flags: BIND }, file);
  assert.ok(
    file.of('openat').some((call) => call.texts[1] === '/r/etc/new' && ((call.args[2] as number) & 64) !== 0),
  );
  assert.ok(!file.of('mkdirat').some((call) => call.texts[1] === '/r/etc/new'));
  const dir = withMode().once('openat2', -ENOENT);
  mount({ type: 'bind', source: '/s', destination: '/new', flags: BIND }, dir);
  assert.ok(dir.of('mkdirat').some((call) => call.texts[1] === '/r/new'));
});

test('read-only at the end: tmpfs and /dev where the spec says so, nothing else', () => {
  const fake = new FakeKernel();
  const list = [
    { type: 'tmpfs', destination: '/t', flags: RDONLY + 2 },
    { type: 'tmpfs', destination: '/w', flags: 2 },
    { type: 'proc', destination: '/proc', flags: RDONLY },
    { type: 'bind', destination: '/dev/', flags: RDONLY + BIND + REC },
  ];
  remountReadonly(fake.kernel, list.map(spec));
  assert.deepEqual(
    fake.of('mount').map((call) => [call.texts[1], call.args[3]]),
    [
      ['/t', RDONLY + 2 + REMOUNT],
      ['/dev/', RDONLY + BIND + REMOUNT],
    ],
  );
});

test('devices: what exists stays, errors name the path, a bound /dev is left alone', () => {
  const exists = new FakeKernel().on('mknodat', -EEXIST).on('symlinkat', -EEXIST).once('symlinkat', -EEXIST);
  assert.throws(
    () => makeDevices(exists.kernel, [], []),
    /link "\/dev\/ptmx": symlinkat \/dev\/ptmx: EEXIST/,
  );
  assert.throws(
    () => makeDevices(new FakeKernel().on('mknodat', -EACCES).kernel, [], []),
    /make device "\/dev\/null": mknodat \/dev\/null: EACCES/,
  );
  const fake = new FakeKernel();
  makeDevices(fake.kernel, [{ path: '/x/y', mode: 0o20600, major: 300, minor: 70_000, uid: 1, gid: 0 }], []);
  const own = fake.of('mknodat').find((call) => call.texts[1] === '/x/y');
  assert.deepEqual(own?.args.slice(2, 4), [0o20600, (70_000 & 0xff) | (300 << 8) | ((70_000 & ~0xff) << 12)]);
  assert.deepEqual(
    fake.of('fchownat').map((call) => [call.texts[1], call.args[2], call.args[3]]),
    [['/x/y', 1, 0]],
  );
  assert.throws(
    () =>
      makeDevices(new FakeKernel().kernel, [{ path: 'x', mode: 0, major: 0, minor: 0, uid: 0, gid: 0 }], []),
    /device path "x" is not absolute/,
  );
  const bound = new FakeKernel();
  makeDevices(bound.kernel, [], [spec({ type: 'bind', destination: '/dev' })]);
  assert.deepEqual(bound.order, []);
});

test('masks and read-only paths: what does not exist is left out, other errors name the path', () => {
  const gone = new FakeKernel().on('mount', -ENOENT);
  maskPaths(gone.kernel, ['/a']);
  makeReadonly(gone.kernel, ['/a']);
  assert.equal(gone.of('mount').length, 2);
  const denied = new FakeKernel().on('mount', -EACCES);
  assert.throws(() => maskPaths(denied.kernel, ['/a']), /mask "\/a": mount \/a: EACCES/);
  assert.throws(() => makeReadonly(denied.kernel, ['/a']), /make "\/a" read-only: mount \/a: EACCES/);
  const dir = new FakeKernel().once('mount', -ENOTDIR);
  maskPaths(dir.kernel, ['/a']);
  assert.deepEqual(mounts(dir), [
    ['/dev/null', '', BIND, ''],
    ['tmpfs', 'tmpfs', RDONLY, ''],
  ]);
  const kept = new FakeKernel();
  kept.on('statfs', (call) => {
    kept.kernel.w32((call.args[1] as number) + 80, 2 + 8 + 1024);
    return 0;
  });
  makeReadonly(kept.kernel, ['/a']);
  assert.deepEqual(
    mounts(kept).map((m) => m[2]),
    [BIND + REC, 2 + 8 + BIND + REMOUNT + RDONLY],
  );
});
