import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { createScratch } from '../../../src/image/ext4/scratch.ts';
import { fsck, inMounted, noMounts } from './judge.ts';

let dir: string;
let image: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-scratch-'));
  image = join(dir, 'scratch.ext4');
});
afterEach(() => rmSync(dir, { recursive: true }));

const attributes = { mode: 0o100640, uid: 70_000, gid: 6, mtimeSeconds: 7, mtimeNanos: 8 };

test('content that does not fit, a size nobody can have and a failing source leave nothing', () => {
  const fill = (bytes: number) => () =>
    createScratch(image, 2 << 20, ({ tree, data }, upper) => {
      data.beginFile(tree.add(upper, 'file', attributes), bytes);
      data.write(Buffer.alloc(bytes, 1));
      data.endFile();
    });
  assert.throws(fill(3 << 20), { code: 'resource-exhausted' });
  assert.throws(() => createScratch(image, 1000), { code: 'invalid-argument' });
  assert.throws(() => createScratch(image, 2 ** 44), { code: 'invalid-argument' });
  assert.throws(() => createScratch(image, 1 << 20, () => assert.fail('source is gone')), /source is gone/);
  const many = () =>
    createScratch(image, 1 << 20, ({ tree }, upper) => {
      for (let i = 0; i < 100; i++) tree.add(upper, `file${i}`, attributes);
    });
  assert.throws(many, { code: 'resource-exhausted' });
  assert.deepEqual(readdirSync(dir), []);
  fill(1 << 20)();
  fsck(image);
});

for (const bytes of [1 << 20, 64 << 20, 128 << 20, (128 << 20) + 4096, 10 * 2 ** 30, 64 * 2 ** 30, 2 ** 40]) {
  test(`an empty one of ${bytes} bytes is clean, and small on the disk`, () => {
    createScratch(image, bytes);
    fsck(image);
    assert.ok(statSync(image).size > bytes - (1 << 20) && statSync(image).size <= bytes);
    assert.ok(
      statSync(image).blocks * 512 <= 48 * 1024 + bytes / 2 ** 17,
      `${statSync(image).blocks} sectors`,
    );
  });
}

test('the kernel writes to it, finds the content, and inflates nothing', { skip: noMounts ?? false }, () => {
  createScratch(image, 4 * 2 ** 30, ({ tree, data }, upper) => {
    const node = tree.add(upper, 'file', {
      ...attributes,
      xattrs: new Map([['user.q', Buffer.alloc(200, 0x61)]]),
    });
    data.beginFile(node, 10_000);
    data.write(Buffer.alloc(10_000, 'x'));
    data.endFile();
    tree.add(upper, 'gone', { ...attributes, mode: 0o020000, rdevMajor: 0, rdevMinor: 0 });
  });
  fsck(image);
  const before = statSync(image).blocks;
  const said = inMounted(
    image,
    `stat -c "%a %u %g %Y %s" upper/file; getfattr --only-values -n user.q upper/file | wc -c; ls upper
     mkdir upper/new work; for i in $(seq 1 3000); do echo $i > upper/new/$i; done
     dd if=/dev/zero of=upper/large bs=1M count=300 status=none; rm upper/large upper/file; sync; sleep 0.5`,
    'rw,discard',
  );
  assert.deepEqual(said.trim().split(/\s+/), ['640', '70000', '6', '7', '10000', '200', 'file', 'gone']);
  fsck(image);
  const grown = (statSync(image).blocks - before) / 2;
  assert.ok(grown < 3000 * 4 + 3000 * 0.25 + 4096, `${grown} KiB more after 3000 files of one block`);
});
