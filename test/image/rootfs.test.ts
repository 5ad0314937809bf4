import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { prepareRootfs } from '../../src/image/rootfs.ts';

const SCRATCH_BYTES = 64 << 20;
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-rootfs-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** What debugfs, a tool that is not ours, says about an image. */
const debugfs = (image: string, command: string) =>
  execFileSync('debugfs', ['-R', command, image], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();

/** A snapshotter's tree: layers 1 (bottom) and 2, active snapshot 3. */
function snapshots(): { mounts: { type: string; source: string; options: string[] }[]; root: string } {
  const root = join(dir, 'snapshots');
  for (const path of ['1/fs/etc', '2/fs/etc', '3/fs', '3/work'])
    mkdirSync(join(root, path), { recursive: true });
  writeFileSync(join(root, '1/fs/etc/motd'), 'bottom\n');
  writeFileSync(join(root, '1/fs/etc/gone'), 'deleted above\n');
  writeFileSync(join(root, '1/fs/kept'), 'kept\n');
  linkSync(join(root, '1/fs/kept'), join(root, '1/fs/linked'));
  writeFileSync(join(root, '2/fs/etc/motd'), 'top\n');
  symlinkSync('motd', join(root, '2/fs/etc/link'));
  execFileSync('mknod', [join(root, '2/fs/etc/gone'), 'c', '0', '0']);
  const options = [`lowerdir=${root}/2/fs:${root}/1/fs`, `upperdir=${root}/3/fs`, `workdir=${root}/3/work`];
  return { root, mounts: [{ type: 'overlay', source: 'overlay', options }] };
}

test('a missing layer and a hostless directory are named, and leave nothing', async () => {
  const { mounts, root } = snapshots();
  rmSync(join(root, '1'), { recursive: true });
  const request = { mounts, scratchBytes: SCRATCH_BYTES, workDir: join(dir, 'work') };
  await assert.rejects(prepareRootfs(request), {
    code: 'not-found',
    message: /snapshots\/1\/fs" does not exist/,
  });
  assert.deepEqual(readdirSync(join(root, '2')), ['fs']);
});

test('layers become one image of the merged view, beside the top-most layer', async () => {
  const { mounts, root } = snapshots();
  const rootfs = await prepareRootfs({ mounts, scratchBytes: SCRATCH_BYTES, workDir: join(dir, 'work') });
  assert.equal(rootfs.lower, join(root, '2/.squib-1.ext4'));
  assert.equal(rootfs.upper, join(root, '3/.squib-scratch.ext4'));
  assert.equal(debugfs(rootfs.lower as string, 'cat /etc/motd'), 'top\n');
  assert.equal(debugfs(rootfs.lower as string, 'cat /linked'), 'kept\n');
  assert.match(debugfs(rootfs.lower as string, 'stat /kept'), /Links: 2/);
  assert.match(debugfs(rootfs.lower as string, 'stat /etc/link'), /Fast link dest: "motd"/);
  const names = debugfs(rootfs.lower as string, 'ls -p /') + debugfs(rootfs.lower as string, 'ls -p /etc');
  assert.doesNotMatch(names, /gone|lost\+found/);
  assert.equal(statSync(rootfs.upper).size, SCRATCH_BYTES);
  assert.ok(statSync(rootfs.upper).blocks * 512 < 4 << 20, 'a fresh scratch is sparse');
  await rootfs.release();
  assert.ok(existsSync(rootfs.upper), 'the scratch lives with the snapshot');
  assert.deepEqual(readdirSync(join(root, '2')).sort(), ['.squib-1.ext4', 'fs']);
});

test('a second start finds image and scratch as they were; ten at once build one image', async () => {
  const { mounts, root } = snapshots();
  const request = { mounts, scratchBytes: SCRATCH_BYTES, workDir: join(dir, 'work') };
  const all = await Promise.all(
    Array.from({ length: 10 }, (_, i) => {
      const active = join(root, `a${i}`);
      mkdirSync(join(active, 'fs'), { recursive: true });
      const options = [`lowerdir=${root}/2/fs:${root}/1/fs`, `upperdir=${active}/fs`];
      return prepareRootfs({ ...request, mounts: [{ type: 'overlay', source: 'overlay', options }] });
    }),
  );
  assert.equal(new Set(all.map((r) => r.lower)).size, 1);
  assert.equal(new Set(all.map((r) => r.upper)).size, 10);
  const before = statSync(all[0]?.lower as string);
  const again = await prepareRootfs(request);
  assert.equal(statSync(again.lower as string).ino, before.ino);
  assert.deepEqual(readdirSync(join(root, '2')).sort(), ['.squib-1.ext4', 'fs']);
});

test('what the host wrote into the upper directory goes into the scratch', async () => {
  const { mounts, root } = snapshots();
  mkdirSync(join(root, '3/fs/var'));
  writeFileSync(join(root, '3/fs/var/copied-up'), 'volume\n');
  const rootfs = await prepareRootfs({ mounts, scratchBytes: SCRATCH_BYTES, workDir: join(dir, 'work') });
  assert.equal(debugfs(rootfs.upper, 'cat /upper/var/copied-up'), 'volume\n');
});

test('a plain directory becomes an image of its container alone, removed at release', async () => {
  const tree = join(dir, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'hello'), 'world\n');
  const workDir = join(dir, 'work');
  const mounts = [{ type: 'bind', source: tree, options: ['rbind', 'rw'] }];
  const rootfs = await prepareRootfs({ mounts, scratchBytes: SCRATCH_BYTES, workDir });
  assert.equal(debugfs(rootfs.lower as string, 'cat /hello'), 'world\n');
  await rootfs.release();
  assert.deepEqual(readdirSync(workDir), []);
});
