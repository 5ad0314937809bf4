import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { createExt4Image, type ImageBuilder } from '../../../src/image/ext4/image.ts';
import type { Attributes, NodeId } from '../../../src/image/tree.ts';
import { debugfs, fsck, inMounted, noMounts, seen } from './judge.ts';

let dir: string;
let image: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-ext4-'));
  image = join(dir, 'image.ext4');
});
afterEach(() => rmSync(dir, { recursive: true }));

const UUID = createHash('sha256').update('test').digest().subarray(0, 16);
const kernel = { skip: noMounts ?? false };

function attributes(mode: number, more: Partial<Attributes> = {}): Attributes {
  return { mode, uid: 0, gid: 0, mtimeSeconds: 1_600_000_000, mtimeNanos: 0, ...more };
}

function addFile(
  builder: ImageBuilder,
  parent: NodeId,
  name: string,
  content: Uint8Array,
  more = {},
): NodeId {
  const node = builder.tree.add(parent, name, attributes(0o100644, more));
  builder.data.beginFile(node, content.length);
  builder.data.write(content);
  builder.data.endFile();
  return node;
}

/** Makes an image of both profiles and has e2fsck look at each. */
function build(fill: (builder: ImageBuilder) => void, inlineData = true): void {
  const builder = createExt4Image(image, { uuid: UUID, inlineData, sync: false });
  fill(builder);
  builder.finish();
  assert.deepEqual(readdirSync(dir), ['image.ext4'], 'nothing is left beside the image');
  fsck(image);
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
/** Bytes that differ from block to block, the same in every run. */
function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) * 7 + (i >> 16)) & 0xff;
  return bytes;
}

test('an aborted image leaves nothing, and a finished one survives a later abort', () => {
  const builder = createExt4Image(image, { uuid: UUID });
  addFile(builder, 0, 'file', pattern(100_000));
  builder.abort();
  assert.deepEqual(readdirSync(dir), []);
  const other = createExt4Image(image, { uuid: UUID });
  other.finish();
  other.abort();
  assert.ok(existsSync(image));
  fsck(image);
});

for (const inlineData of [true, false]) {
  test(`sizes around every boundary, inline data ${inlineData}`, kernel, () => {
    const sizes = [
      0, 1, 59, 60, 61, 895, 896, 897, 4095, 4096, 4097, 65_535, 65_536, 65_537, 300_000, 5_000_000,
    ];
    build((b) => {
      for (const size of sizes) addFile(b, 0, `f${size}`, pattern(size));
    }, inlineData);
    const files = seen(image);
    assert.equal(files.size, sizes.length + 1, 'no lost+found either');
    for (const size of sizes) {
      const file = files.get(`./f${size}`);
      assert.ok(file);
      assert.equal(file.size, size);
      assert.equal(file.sha256, sha256(pattern(size)), `content of ${size} bytes`);
      // The kernel counts a sector for what is inside of the inode.
      const inBlocks = size > 896 || (size > 0 && !inlineData);
      assert.equal(file.sectors >= 8, inBlocks, `${size} bytes in ${file.sectors} sectors`);
    }
  });
}

test('kinds, owners, times and links as they went in', kernel, () => {
  const times = [-(2 ** 31), -500_000_000, -1, 0, 2 ** 31 - 1, 2 ** 31, 2_208_988_800, 2 ** 34 - 2 ** 31 - 1];
  build((b) => {
    const sub = b.tree.add(0, 'sub', attributes(0o42755, { uid: 65_536, gid: 2_000_000_000 }));
    times.forEach((mtimeSeconds, i) => {
      addFile(b, sub, `t${i}`, pattern(10), { mtimeSeconds, mtimeNanos: i === 1 ? 999_999_999 : i });
    });
    b.tree.add(0, 'char', attributes(0o020666, { rdevMajor: 1, rdevMinor: 3 }));
    b.tree.add(0, 'whiteout', attributes(0o020000, { rdevMajor: 0, rdevMinor: 0 }));
    b.tree.add(0, 'block', attributes(0o060660, { rdevMajor: 259, rdevMinor: 70_000 }));
    b.tree.add(0, 'fifo', attributes(0o010600));
    b.tree.add(0, 'socket', attributes(0o140755));
    for (const length of [1, 59, 60, 61, 4000, 4095])
      b.tree.add(0, `l${length}`, attributes(0o120777, { target: 'x'.repeat(length) }));
    const file = addFile(b, 0, 'file', pattern(5000), { mode: 0o106711 });
    b.tree.link(sub, 'file-too', file);
    const link = b.tree.lookup(0, 'l4000') as NodeId;
    b.tree.link(sub, 'link-too', link);
    b.tree.link(sub, 'fifo-too', b.tree.lookup(0, 'fifo') as NodeId);
    b.tree.setAttributes(b.tree.root, attributes(0o041777, { uid: 7, gid: 8 }));
  });
  const files = seen(image);
  const get = (path: string) => files.get(path) ?? assert.fail(`no ${path} among ${[...files.keys()]}`);
  times.forEach((seconds, i) => {
    const nanos = BigInt(i === 1 ? 999_999_999 : i);
    assert.equal(get(`./sub/t${i}`).mtime, (BigInt(seconds) * 1_000_000_000n + nanos).toString());
  });
  assert.deepEqual([get('./sub').mode, get('./sub').uid, get('./sub').gid], [0o42755, 65_536, 2_000_000_000]);
  assert.deepEqual([get('.').mode, get('.').uid, get('.').gid, get('.').links], [0o41777, 7, 8, 3]);
  assert.deepEqual([get('./char').mode, get('./char').rdev], [0o020666, String((1 << 8) | 3)]);
  assert.deepEqual([get('./whiteout').mode, get('./whiteout').rdev], [0o020000, '0']);
  assert.match(inMounted(image, 'stat -c %t:%T block'), /^103:11170$/m);
  assert.deepEqual([get('./fifo').mode, get('./socket').mode], [0o010600, 0o140755]);
  for (const length of [1, 59, 60, 61, 4000, 4095])
    assert.equal(get(`./l${length}`).target, 'x'.repeat(length));
  assert.deepEqual([get('./file').mode, get('./file').links], [0o106711, 2]);
  for (const [a, b] of [
    ['./file', './sub/file-too'],
    ['./l4000', './sub/link-too'],
    ['./fifo', './sub/fifo-too'],
  ] as const)
    assert.equal(get(a).inode, get(b).inode, `${a} and ${b} are one`);
});

test('the same input gives the same bytes', () => {
  const images = [1, 2].map(() => {
    build((b) => {
      const sub = b.tree.add(0, 'sub', attributes(0o40755));
      for (let i = 0; i < 500; i++) addFile(b, sub, `file-${i}`, pattern(i * 20));
    });
    return sha256(readFileSync(image));
  });
  assert.equal(images[0], images[1]);
});

test('debugfs reads it as the kernel does', () => {
  build((b) => {
    addFile(b, 0, 'hello', Buffer.from('hello, world\n'.repeat(9)));
    addFile(b, 0, 'long', pattern(100_000));
  });
  assert.equal(debugfs(image, 'cat hello'), 'hello, world\n'.repeat(9));
  assert.match(debugfs(image, 'stat long'), /\(0-24\):\d+-\d+/);
});
