import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { prepareRootfs } from '../../src/image/rootfs.ts';
import { missing, opaque, whiteout } from './directory/tree-on-host.ts';
import { debugfs, fsck, SCRATCH_BYTES, Snapshots } from './snapshots.ts';

const options = { skip: missing() ?? false };
let dir: string;
let snapshots: Snapshots;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-rootfs-'));
  if (!options.skip) snapshots = new Snapshots(dir);
});
afterEach(() => rmSync(dir, { recursive: true }));

const layer = (path: string): string => join(snapshots.root, path);
/** No program: whoever starts one fails. */
const NO_CONVERTER = '/no/such/converter';

test('a missing layer is named, and nothing is left', options, async () => {
  rmSync(layer('1'), { recursive: true });
  await assert.rejects(prepareRootfs(snapshots.request()), {
    code: 'not-found',
    message: /snapshots\/1\/fs" does not exist/,
  });
  assert.deepEqual(readdirSync(layer('2')), ['fs']);
  rmSync(layer('2'), { recursive: true });
  await assert.rejects(prepareRootfs(snapshots.request()), {
    code: 'not-found',
    message: /snapshots\/2\/fs"/,
  });
});

test('a converter that is not there is an error, not a hang', options, async () => {
  const request = { ...snapshots.request(), converter: NO_CONVERTER };
  await assert.rejects(prepareRootfs(request), { code: 'internal', message: /Cannot find module/ });
  assert.deepEqual(readdirSync(layer('2')), ['fs']);
});

test('layers become one image of the merged view, beside the top-most layer', options, async () => {
  const rootfs = await prepareRootfs(snapshots.request());
  const lower = rootfs.lower as string;
  assert.equal(lower, layer('2/.squib-2.ext4'));
  assert.equal(rootfs.upper, layer('3/.squib-scratch.ext4'));
  fsck(lower);
  fsck(rootfs.upper);
  assert.equal(debugfs(lower, 'cat /etc/motd'), 'top\n');
  assert.equal(debugfs(lower, 'cat /linked'), 'kept\n');
  assert.match(debugfs(lower, 'stat /kept'), /Links: 2/);
  assert.match(debugfs(lower, 'stat /etc/link'), /link dest: "motd"/);
  assert.doesNotMatch(debugfs(lower, 'ls -p /etc'), /gone/);
  assert.equal(statSync(rootfs.upper).size, SCRATCH_BYTES);
  assert.ok(statSync(rootfs.upper).blocks * 512 < 4 << 20, 'a fresh scratch is sparse');
  assert.equal(statSync(lower).mode & 0o777, 0o600);
  await rootfs.release();
  assert.ok(existsSync(rootfs.upper), 'the scratch lives with the snapshot');
  assert.deepEqual(readdirSync(layer('2')).sort(), ['.squib-2.ext4', 'fs']);
  assert.deepEqual(readdirSync(layer('3')).sort(), ['.squib-scratch.ext4', 'fs', 'work']);
});

test('ten starts at once build one image', options, async () => {
  const names = Array.from({ length: 10 }, (_, i) => `a${i}`);
  const all = await Promise.all(
    names.map((name) => prepareRootfs(snapshots.request(snapshots.mounts(name)))),
  );
  assert.deepEqual([...new Set(all.map((r) => r.lower))], [layer('2/.squib-2.ext4')]);
  assert.equal(new Set(all.map((r) => r.upper)).size, 10);
  assert.deepEqual(readdirSync(layer('2')).sort(), ['.squib-2.ext4', 'fs']);
});

test(
  'a second start needs no converter, finds image and scratch as they were, at once',
  options,
  async () => {
    const { lower, upper } = await prepareRootfs(snapshots.request());
    const inodes = [lower, upper].map((path) => statSync(path as string).ino);
    const request = { ...snapshots.request(), converter: NO_CONVERTER };
    const times: number[] = [];
    for (let i = 0; i < 20; i++) {
      const before = performance.now();
      const again = await prepareRootfs(request);
      times.push(performance.now() - before);
      assert.deepEqual(
        [again.lower, again.upper].map((path) => statSync(path as string).ino),
        inodes,
      );
    }
    assert.ok(Math.min(...times) < 5, `${Math.min(...times)} ms`);
  },
);

test('an image that is cut short, or of other layers, is made anew', options, async () => {
  const image = (await prepareRootfs(snapshots.request())).lower as string;
  truncateSync(image, statSync(image).size - 4096);
  await prepareRootfs(snapshots.request());
  fsck(image);
  appendFileSync(image, 'x');
  await prepareRootfs(snapshots.request());
  fsck(image);
  writeFileSync(image, '');
  await prepareRootfs(snapshots.request());
  fsck(image);
  // The snapshot's directory made anew, as after a restored backup: the same path, another inode.
  renameSync(layer('2/fs'), layer('2/old'));
  mkdirSync(layer('2/fs'));
  writeFileSync(layer('2/fs/new'), 'new\n');
  await prepareRootfs(snapshots.request());
  assert.equal(debugfs(image, 'cat /new'), 'new\n');
});

test('what earlier versions and killed conversions left beside a layer goes', options, async () => {
  for (const name of ['.squib-1.ext4', '.squib-scratch.ext4', '.squib-2.ext4.tmp-4194400'])
    writeFileSync(layer(`2/${name}`), 'x');
  await prepareRootfs(snapshots.request());
  assert.deepEqual(readdirSync(layer('2')).sort(), ['.squib-2.ext4', 'fs']);
});

test(
  'what the host wrote into the upper directory goes into the first scratch, as a layer',
  options,
  async () => {
    mkdirSync(layer('3/fs/var'));
    writeFileSync(layer('3/fs/var/copied-up'), 'volume\n');
    opaque(layer('3/fs/var'));
    whiteout(layer('3/fs/kept'));
    const { upper } = await prepareRootfs(snapshots.request());
    fsck(upper);
    assert.equal(debugfs(upper, 'cat /upper/var/copied-up'), 'volume\n');
    assert.match(debugfs(upper, 'ea_list /upper/var'), /trusted\.overlay\.opaque.* = "y"/);
    assert.match(debugfs(upper, 'stat /upper/kept'), /Type: character special/);
    writeFileSync(layer('3/fs/late'), 'late\n');
    await prepareRootfs(snapshots.request());
    assert.doesNotMatch(
      debugfs(upper, 'ls -p /upper'),
      /late/,
      "the container's own writes are not replaced",
    );
  },
);

test('a plain directory becomes an image of its container alone, removed at release', options, async () => {
  const tree = join(dir, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'hello'), 'world\n');
  const request = snapshots.request([{ type: 'bind', source: tree, options: ['rbind', 'rw'] }]);
  const rootfs = await prepareRootfs(request);
  assert.equal(debugfs(rootfs.lower as string, 'cat /hello'), 'world\n');
  await rootfs.release();
  assert.deepEqual(readdirSync(request.workDir), []);
});

test('a snapshot without parents keeps its data; as a view it shares the cached image', options, async () => {
  const bind = (mode: string) => [{ type: 'bind', source: layer('1/fs'), options: ['rbind', mode] }];
  const active = await prepareRootfs(snapshots.request(bind('rw')));
  assert.deepEqual(
    [active.lower, active.upper],
    [layer('1/.squib-base.ext4'), layer('1/.squib-scratch.ext4')],
  );
  await active.release();
  await prepareRootfs({ ...snapshots.request(bind('rw')), converter: NO_CONVERTER });
  rmSync(active.upper);
  const view = await prepareRootfs(snapshots.request(bind('ro')));
  assert.equal(view.lower, layer('1/.squib-2.ext4'));
  await view.release();
  assert.deepEqual(readdirSync(layer('1')).sort(), ['.squib-2.ext4', 'fs']);
});

test('an image is attached as it is, and never looked into', options, async () => {
  const path = join(dir, 'device');
  writeFileSync(path, 'not an ext4 at all');
  const mounts = [{ type: 'ext4', source: path, options: ['rw'] }];
  const rootfs = await prepareRootfs({ ...snapshots.request(mounts), converter: NO_CONVERTER });
  assert.deepEqual([rootfs.lower, rootfs.upper], [undefined, path]);
  await rootfs.release();
  assert.ok(existsSync(path));
});
