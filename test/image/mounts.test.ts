import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rootfsSource } from '../../src/image/mounts.ts';

const overlay = (...options: string[]) => [{ type: 'overlay', source: 'overlay', options }];

test('refuses what no known snapshotter makes, naming it', () => {
  assert.throws(() => rootfsSource([]), { code: 'invalid-argument', message: /no rootfs/ });
  assert.throws(() => rootfsSource([{ type: 'erofs', source: '/x', options: [] }]), {
    code: 'unimplemented',
    message: /"erofs".*"\/x".*overlay, bind or ext4/,
  });
  const bind = { type: 'bind', source: '/x', options: [] };
  assert.throws(() => rootfsSource([bind, { ...bind, type: 'overlay' }]), { message: /bind, overlay/ });
});

test('refuses an overlay that is incomplete or relative', () => {
  assert.throws(() => rootfsSource(overlay('upperdir=/u', 'workdir=/w')), { message: /without lowerdir/ });
  assert.throws(() => rootfsSource(overlay('lowerdir=a:/b')), { message: /lowerdir "a" is not an absolute/ });
  assert.throws(() => rootfsSource(overlay('lowerdir=/b', 'upperdir=u')), { message: /upperdir "u"/ });
  assert.throws(() => rootfsSource([{ type: 'bind', source: 'x', options: [] }]), {
    message: /bind source "x"/,
  });
});

test('reads the overlay snapshotter, top-most layer first', () => {
  const mounts = overlay('index=off', 'workdir=/s/3/work', 'upperdir=/s/3/fs', 'lowerdir=/s/2/fs:/s/1/fs');
  assert.deepEqual(rootfsSource(mounts), {
    kind: 'overlay',
    lowerDirs: ['/s/2/fs', '/s/1/fs'],
    upperDir: '/s/3/fs',
    namespace: 'trusted',
  });
  const rootless = rootfsSource(overlay('userxattr', 'lowerdir=/s/1/fs'));
  assert.deepEqual(rootless, {
    kind: 'overlay',
    lowerDirs: ['/s/1/fs'],
    upperDir: undefined,
    namespace: 'user',
  });
});

test('a backslash keeps a colon, a backslash and a comma literal', () => {
  const source = rootfsSource(overlay('lowerdir=/a\\:b:/c\\\\:/d\\,e', 'upperdir=/u\\:v'));
  assert.deepEqual(source, {
    kind: 'overlay',
    lowerDirs: ['/a:b', '/c\\', '/d,e'],
    upperDir: '/u:v',
    namespace: 'trusted',
  });
});

test('a bind is a directory, an ext4 is an image', () => {
  assert.deepEqual(rootfsSource([{ type: 'rbind', source: '/r', options: ['rbind', 'rw'] }]), {
    kind: 'directory',
    dir: '/r',
    isReadOnly: false,
  });
  const view = rootfsSource([{ type: 'bind', source: '/r', options: ['ro', 'rbind'] }]);
  assert.deepEqual(view, { kind: 'directory', dir: '/r', isReadOnly: true });
  assert.deepEqual(rootfsSource([{ type: 'ext4', source: '/dev/mapper/x', options: ['rw'] }]), {
    kind: 'image',
    path: '/dev/mapper/x',
  });
});
