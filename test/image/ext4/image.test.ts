import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { halfMd4 } from '../../../src/image/ext4/htree.ts';
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

const lookups = (names: readonly string[]) =>
  names.map((name) => `stat -c %n './${name}' >/dev/null`).join('\n');

test('directories of every size: one block, two, an index of one level and of two', kernel, () => {
  const counts = [0, 1, 126, 127, 200, 300, 2000, 60_000];
  const name = (i: number) => `entry-${i.toString(36)}-${'x'.repeat(i % 7)}`;
  const long = (i: number) => `${i}-${'\xe9\xff'.repeat(140)}`.slice(0, 255);
  build((b) => {
    const shared = addFile(b, 0, 'file', pattern(5));
    for (const count of counts) {
      const directory = b.tree.add(0, `d${count}`, attributes(0o40755));
      for (let i = 0; i < count; i++) b.tree.link(directory, name(i), shared);
      // A file has at most 65,000 links.
      if (count === 60_000) b.tree.remove(0, 'd60000');
    }
    const names = b.tree.add(0, 'names', attributes(0o40755));
    for (let i = 0; i < 12_000; i++) b.tree.add(names, long(i), attributes(0o100600));
  });
  assert.match(debugfs(image, 'htree_dump names'), /Number of levels in the tree: 2|Indirect levels: 1/);
  assert.match(debugfs(image, 'htree_dump d2000'), /Indirect levels: 0/);
  const files = seen(image);
  assert.equal(
    files.size,
    1 + 7 + 1 + (1 + 126 + 127 + 200 + 300 + 2000) + 1 + 12_000,
    'nothing more, nothing less',
  );
  for (let i = 0; i < 12_000; i += 37) assert.ok(files.has(`./names/${long(i)}`), `entry ${i} is listed`);
  // The kernel looks names up by the index, and must find each; what is not there it must miss.
  inMounted(image, lookups(Array.from({ length: 2000 }, (_, i) => `d2000/${name(i)}`)));
  assert.throws(() => inMounted(image, lookups(['d2000/entry-nothing'])));
});

test('more than 65,000 subdirectories, found by the index', kernel, () => {
  build((b) => {
    const many = b.tree.add(0, 'many', attributes(0o40755));
    for (let i = 0; i < 66_000; i++) b.tree.add(many, `sub${i}`, attributes(0o40755));
  });
  assert.equal(
    inMounted(image, 'stat -c %h many; ls many | wc -l; cd many; stat -c %n sub0 sub999 sub65999').trim(),
    ['1', '66000', 'sub0', 'sub999', 'sub65999'].join('\n'),
  );
});

test('names with one hash in two leaves are found in both', kernel, () => {
  // Found by search: two names of one hash under the seed of these tests.
  const twins = ['c130948', 'c234577'].map((name) => name.padEnd(120, 'x'));
  const hash = halfMd4(UUID);
  const shared = hash(Buffer.from(twins[0] as string));
  assert.equal(hash(Buffer.from(twins[1] as string)), shared);
  // 15 entries of 264 bytes leave room in a leaf for one entry of 128, not for two.
  const fillers = Array.from({ length: 2000 }, (_, i) => `f${i}`.padEnd(255, 'y'));
  const below = fillers.filter((name) => hash(Buffer.from(name)) < shared).slice(0, 15 * 20);
  const above = fillers.filter((name) => hash(Buffer.from(name)) > shared).slice(0, 300);
  build((b) => {
    for (const name of [...below, ...twins, ...above]) b.tree.add(0, name, attributes(0o100644));
  });
  assert.match(
    debugfs(image, 'htree_dump /'),
    new RegExp(`Hash 0x${(shared + 1).toString(16).padStart(8, '0')}`),
  );
  inMounted(image, `${lookups(twins)}\nls -l . >/dev/null`);
});

test('links of a directory around the 65,000 that it may count, the root too', () => {
  for (const subdirectories of [64_997, 64_998, 64_999]) {
    build((b) => {
      const many = b.tree.add(0, 'many', attributes(0o40755));
      for (let i = 0; i < subdirectories; i++) b.tree.add(many, `${i}`, attributes(0o40755));
    }, false);
  }
  build((b) => {
    for (let i = 0; i < 65_100; i++) b.tree.add(0, `${i}`, attributes(0o40755));
  }, false);
});

test('attributes in the inode, in a block, in shared blocks and in both', kernel, () => {
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  const sets: Record<string, Record<string, Buffer>> = {
    one: { 'user.a': Buffer.from('b') },
    empty: { 'user.empty': Buffer.alloc(0) },
    capability: { 'security.capability': capability },
    opaque: { 'trusted.overlay.opaque': Buffer.from('y') },
    odd: {
      'user.x': Buffer.from('\0\xff\n', 'latin1'),
      'user.xy': Buffer.alloc(3),
      'trusted.z': Buffer.alloc(5, 1),
    },
    block: { 'user.big': pattern(3000), 'user.aa': Buffer.from('small') },
    both: { 'user.big': pattern(3900), 'user.second': pattern(600) },
  };
  for (const inlineData of [true, false]) {
    build((b) => {
      const names = Object.entries(sets).filter(([name]) => inlineData || name !== 'both');
      for (const [name, set] of names) {
        const xattrs = new Map(Object.entries(set));
        addFile(b, 0, name, pattern(0), { xattrs });
        addFile(b, 0, `${name}-small`, pattern(50), { xattrs });
        addFile(b, 0, `${name}-inline`, pattern(850), { xattrs });
        addFile(b, 0, `${name}-data`, pattern(5000), { xattrs });
        b.tree.add(0, `${name}-dir`, attributes(0o40755, { xattrs }));
      }
      for (let i = 0; i < 2500; i++) {
        const xattrs = new Map([['user.shared', pattern(2000)]]);
        b.tree.add(0, `shared${i}`, attributes(0o100644, { xattrs }));
      }
    }, inlineData);
    const dump = inMounted(image, 'getfattr -R -h -d -m - -e hex . 2>/dev/null');
    const listed = new Map(
      dump.split('\n\n').map((part) => {
        const [head = '', ...lines] = part.split('\n').filter(Boolean);
        return [head.replace('# file: ', ''), lines.sort()];
      }),
    );
    for (const [name, set] of Object.entries(sets)) {
      if (!inlineData && name === 'both') continue;
      const expected = Object.entries(set).map(([key, value]) => `${key}=0x${value.toString('hex')}`);
      for (const suffix of ['', '-small', '-inline', '-data', '-dir'])
        assert.deepEqual(
          listed.get(name + suffix)?.map((line) => line.replace(/=$|=0x$|=""$/, '=0x')),
          expected.sort(),
          name + suffix,
        );
    }
    const files = seen(image);
    for (const name of Object.keys(sets))
      if (inlineData || name !== 'both')
        assert.equal(files.get(`./${name}-inline`)?.sha256, sha256(pattern(850)));
    const shared = listed.get('shared2499') ?? [];
    assert.deepEqual(shared, [`user.shared=0x${pattern(2000).toString('hex')}`]);
  }
});

test('attributes that fit nowhere, or that ext4 does not have, are refused when they are added', () => {
  const builder = createExt4Image(image, { uuid: UUID });
  try {
    const add = (name: string, size: number) => () =>
      builder.tree.add(0, 'x', attributes(0o100644, { xattrs: new Map([[name, Buffer.alloc(size)]]) }));
    assert.throws(add('user.large', 5000), { code: 'unimplemented' });
    assert.throws(add('system.nfs4_acl', 10), { code: 'unimplemented' });
    assert.throws(add('user.', 10), { code: 'unimplemented' });
    assert.throws(add('system.posix_acl_access', 10), { code: 'invalid-argument' });
    assert.equal(builder.tree.lookup(0, 'x'), undefined);
  } finally {
    builder.abort();
  }
});

test('ACLs as getfacl shows them', kernel, () => {
  const acl = (...entries: [tag: number, perm: number, id: number][]) => {
    const bytes = Buffer.alloc(4 + entries.length * 8);
    bytes.writeUInt32LE(2);
    entries.forEach(([tag, perm, id], i) => {
      bytes.writeUInt16LE(tag, 4 + i * 8);
      bytes.writeUInt16LE(perm, 6 + i * 8);
      bytes.writeUInt32LE(id, 8 + i * 8);
    });
    return bytes;
  };
  const none = 0xffff_ffff;
  const access = acl(
    [1, 6, none],
    [2, 7, 70_000],
    [4, 4, none],
    [8, 5, 80_000],
    [16, 7, none],
    [32, 0, none],
  );
  build((b) => {
    const xattrs = new Map([['system.posix_acl_access', access]]);
    addFile(b, 0, 'file', pattern(10), { mode: 0o100670, xattrs });
    b.tree.add(
      0,
      'dir',
      attributes(0o40770, { xattrs: new Map([['system.posix_acl_default', access], ...xattrs]) }),
    );
  });
  const expected = [
    'user::rw-',
    'user:70000:rwx',
    'group::r--',
    'group:80000:r-x',
    'mask::rwx',
    'other::---',
  ];
  const lines = (text: string) => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  assert.deepEqual(lines(inMounted(image, 'getfacl -n file')), expected);
  assert.deepEqual(lines(inMounted(image, 'getfacl -n dir')), [
    ...expected,
    ...expected.map((line) => `default:${line}`),
  ]);
});

test('sparse files stay sparse, of 5 GiB and more; trees of extents of depth 0, 1 and 2', kernel, () => {
  const chunk = pattern(4096);
  const size = 5 * 2 ** 30 + 12_345;
  const scattered = (b: ImageBuilder, name: string, pieces: number) => {
    const node = b.tree.add(0, name, attributes(0o100644));
    b.data.beginFile(node, pieces * 8192);
    for (let i = 0; i < pieces; i++) {
      b.data.write(chunk);
      b.data.hole(4096);
    }
    b.data.endFile();
  };
  build((b) => {
    const node = b.tree.add(0, 'sparse', attributes(0o100644));
    b.data.beginFile(node, size);
    b.data.hole(100);
    b.data.write(Buffer.from('one'));
    b.data.hole(5 * 2 ** 30 - 1000);
    b.data.write(Buffer.from('two'));
    b.data.hole(size - (100 + 3 + 5 * 2 ** 30 - 1000 + 3));
    b.data.endFile();
    scattered(b, 'depth0', 4);
    scattered(b, 'depth1', 5);
    scattered(b, 'depth1-full', 1360);
    scattered(b, 'depth2', 1361);
    scattered(b, 'depth2-more', 3000);
    addFile(b, 0, 'zeroes', Buffer.alloc(3_000_000));
    addFile(
      b,
      0,
      'mixed',
      Buffer.concat([chunk, Buffer.alloc(1 << 20), chunk, Buffer.alloc(70_000), Buffer.from('z')]),
    );
  });
  const files = seen(image);
  const bytesOf = (pieces: number) =>
    sha256(
      Buffer.concat(
        Array(pieces)
          .fill([chunk, Buffer.alloc(4096)])
          .flat(),
      ),
    );
  assert.equal(files.get('./depth0')?.sha256, bytesOf(4));
  assert.equal(files.get('./depth1')?.sha256, bytesOf(5));
  assert.equal(files.get('./depth1-full')?.sha256, bytesOf(1360));
  assert.equal(files.get('./depth2')?.sha256, bytesOf(1361));
  assert.equal(files.get('./depth2-more')?.sha256, bytesOf(3000));
  for (const [name, depth] of [
    ['depth0', 0],
    ['depth1', 1],
    ['depth1-full', 1],
    ['depth2', 2],
  ] as const)
    assert.match(debugfs(image, `ex ${name}`), new RegExp(` 0/ ${depth} `), `${name} has depth ${depth}`);
  assert.equal(files.get('./zeroes')?.sha256, sha256(Buffer.alloc(3_000_000)));
  assert.ok((files.get('./zeroes')?.sectors ?? 0) <= 160, 'a file of zeroes is a hole and less than 64 KiB');
  assert.ok((files.get('./mixed')?.sectors ?? 0) <= 320, 'its long runs of zeroes are holes');
  assert.deepEqual([files.get('./sparse')?.size, files.get('./sparse')?.sectors], [size, 16]);
  const read = (offset: number) => `tail -c +${offset + 1} sparse | head -c 3`;
  assert.equal(inMounted(image, `${read(100)}; ${read(100 + 3 + 5 * 2 ** 30 - 1000)}`), 'onetwo');
});

test('a replaced file leaves its blocks to the next one', kernel, () => {
  build((b) => {
    addFile(b, 0, 'old', pattern(5_000_000));
    addFile(b, 0, 'kept', pattern(10_000));
    b.tree.remove(0, 'old');
    addFile(b, 0, 'new', pattern(4_999_999));
    addFile(b, 0, 'small', pattern(5000));
    const sparse = b.tree.add(0, 'sparse', attributes(0o100644));
    addFile(b, 0, 'gone', pattern(1_000_000));
    b.tree.remove(0, 'gone');
    b.data.beginFile(sparse, 900_000);
    b.data.write(pattern(4096));
    b.data.hole(900_000 - 4096);
    b.data.endFile();
    addFile(b, 0, 'again', pattern(20_000));
    b.data.beginFile(b.tree.lookup(0, 'kept') as NodeId, 30_000);
    b.data.write(pattern(30_000));
    b.data.endFile();
  });
  const files = seen(image);
  for (const [name, size] of [
    ['new', 4_999_999],
    ['small', 5000],
    ['again', 20_000],
    ['kept', 30_000],
  ] as const)
    assert.equal(files.get(`./${name}`)?.sha256, sha256(pattern(size)), name);
  const sparse = Buffer.concat([pattern(4096), Buffer.alloc(900_000 - 4096)]);
  assert.equal(files.get('./sparse')?.sha256, sha256(sparse));
  assert.ok(readFileSync(image).length < 7_000_000, 'the first file cost nothing');
});

test('names are bytes', kernel, () => {
  const names = ['\xff\xfe', 'caf\xe9', 'caf\xc3\xa9', '-rf', ' ', 'a\nb', '"', "'", '\\', '\x7f\x01'];
  build((b) => {
    for (const name of names) addFile(b, 0, name, Buffer.from(name, 'latin1'));
  });
  const files = seen(image);
  assert.equal(files.size, names.length + 1);
  for (const name of names) assert.equal(files.get(`./${name}`)?.sha256, sha256(Buffer.from(name, 'latin1')));
});

test('many groups, and a last one that would have been too small', kernel, () => {
  for (const blocks of [32_500, 32_600, 32_640, 32_680, 32_700, 32_704, 32_768, 65_400]) {
    build((b) => {
      const node = b.tree.add(0, 'file', attributes(0o100644));
      b.data.beginFile(node, blocks * 4096);
      for (let i = 0; i < blocks; i += 50) b.data.write(Buffer.alloc(Math.min(50, blocks - i) * 4096, 0x78));
      b.data.endFile();
    });
  }
  build((b) => {
    for (let i = 0; i < 33_000; i++) b.tree.add(0, `f${i}`, attributes(0o100644));
  });
});

test('files and their attributes do not pile up in memory', () => {
  const script = join(import.meta.dirname, 'many-files.ts');
  const peak = (count: number) =>
    Number(execFileSync(process.execPath, [script, image, String(count)], { encoding: 'utf8' })) / 1024;
  const few = peak(1000);
  const many = peak(150_000);
  fsck(image);
  // Content alone is 114 MiB, inodes are 146 MiB; the difference is records, buffers and young garbage.
  assert.ok(many - few < 90, `${Math.round(many)} MiB for 150,000 files, ${Math.round(few)} for 1000`);
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
