import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { archive, END, header, type Member, member, padded, paxRecord } from './archive.ts';
import { type Collected, scan } from './collector.ts';

const one = (m: Member): Collected => {
  const [entry, ...more] = scan(archive(m));
  assert.equal(more.length, 0);
  return entry as Collected;
};

test('each kind of entry', () => {
  const kinds = scan(
    archive(
      { name: './', type: '5', mode: 0o755 },
      { name: 'a', data: 'hello', uid: 1000, gid: 5, mtime: 86400, mode: 0o4755 },
      { name: 'old', type: '\0', data: 'v7' },
      { name: 'olddir/', type: '\0' },
      { name: 'contiguous', type: '7', data: 'c' },
      { name: 'b', type: '1', link: 'a' },
      { name: 'c', type: '2', link: '../x' },
      { name: 'd', type: '3', major: 4, minor: 70000 },
      { name: 'e', type: '4', major: 8, minor: 1 },
      { name: 'f', type: '6' },
    ),
  );
  assert.deepEqual(
    kinds.map((e) => `${e.kind} ${e.path} ${e.linkPath} ${e.rdevMajor}:${e.rdevMinor} ${e.content}`),
    [
      'directory ./  0:0 ',
      'file a  0:0 hello',
      'file old  0:0 v7',
      'directory olddir/  0:0 ',
      'file contiguous  0:0 c',
      'link b a 0:0 ',
      'symlink c ../x 0:0 ',
      'character d  4:70000 ',
      'block e  8:1 ',
      'fifo f  0:0 ',
    ],
  );
  const { mode, uid, gid, mtimeSeconds, offset } = kinds[1] as Collected;
  assert.deepEqual(
    { mode, uid, gid, mtimeSeconds, offset },
    { mode: 0o4755, uid: 1000, gid: 5, mtimeSeconds: 86400, offset: 512 },
  );
});

test('the prefix of ustar, and not where GNU has something else', () => {
  assert.equal(one({ name: 'name', prefix: 'a/b' }).path, 'a/b/name');
  const gnu = (block: Buffer) => block.write('ustar  \0', 257, 'latin1');
  assert.equal(one({ name: 'name', prefix: '1234', edit: gnu }).path, 'name');
  const star = (block: Buffer) => {
    block.write('12345670123 ', 476, 'latin1');
    block.write('tar\0', 508, 'latin1');
  };
  assert.equal(one({ name: 'n', prefix: 'p'.repeat(131), edit: star }).path, `${'p'.repeat(131)}/n`);
});

test('numbers: base-256, negative, blanks, large ids', () => {
  assert.equal(one({ mtime: -86400 }).mtimeSeconds, -86400);
  assert.equal(one({ mtime: 2 ** 33 + 5 }).mtimeSeconds, 2 ** 33 + 5);
  assert.equal(one({ mtime: 2 ** 50 }).mtimeSeconds, 2 ** 34 - 2 ** 31 - 1, 'moved to what ext4 holds');
  assert.equal(one({ uid: 2_000_000_000, gid: 4_000_000_000 }).gid, 4_000_000_000);
  assert.equal(one({ edit: (block) => block.write('   644 ', 100, 'latin1') }).mode, 0o644);
  assert.equal(one({ edit: (block) => block.fill(0, 108, 116) }).uid, 0);
  assert.equal(one({ edit: (block) => block.write('644\0rest', 100, 'latin1') }).mode, 0o644);
});

test('checksums of signed bytes, as some old tars have them, and no others', () => {
  const bytes = archive({ name: '\xe4\xff' });
  const sum = Number.parseInt(bytes.toString('latin1', 148, 154), 8);
  const put = (value: number) => bytes.write(value.toString(8).padStart(6, '0'), 148, 'latin1');
  put(sum - 512);
  assert.equal(scan(bytes)[0]?.path, '\xe4\xff');
  put(sum - 256);
  assert.throws(() => scan(bytes), { code: 'data-loss' });
});

test('pax records win over the header', () => {
  const entry = one({
    name: 'short',
    data: 'abc',
    pax: {
      path: 'a/very/long/n\xe4me',
      uid: '100000',
      gid: '2000000',
      mtime: '-1.25',
      atime: 'no number, not looked at',
      'SCHILY.xattr.user.empty': '',
      'SCHILY.xattr.security.capability': '\x01\0\0\x02\n=\xff',
      'SCHILY.xattr.trusted.overlay.opaque': 'y',
      comment: 'ignored',
    },
  });
  assert.equal(entry.path, 'a/very/long/n\xe4me');
  assert.deepEqual([entry.uid, entry.gid], [100000, 2000000]);
  assert.deepEqual([entry.mtimeSeconds, entry.mtimeNanos], [-2, 750_000_000]);
  assert.deepEqual(
    [...(entry.xattrs ?? [])].map(([k, v]) => [k, Buffer.from(v).toString('latin1')]),
    [
      ['user.empty', ''],
      ['security.capability', '\x01\0\0\x02\n=\xff'],
    ],
  );
});

test('pax: a size beyond the header, an empty value takes back, one entry only', () => {
  const [sized, next] = scan(
    archive({ name: 'a', size: 1, data: 'abc', pax: { size: '3', path: 'x' } }, { name: 'b' }),
  );
  assert.equal(sized?.content.toString(), 'abc');
  assert.equal(next?.path, 'b');
  const twice = Buffer.concat([
    member({ pax: { path: 'first' } }).subarray(0, 1024),
    archive({ name: 'own', pax: { path: '' } }),
  ]);
  assert.equal(scan(twice)[0]?.path, 'own');
});

test('pax headers may be filled up with NULs', () => {
  const records = `${paxRecord('path', 'padded')}\0\0\0`;
  const bytes = Buffer.concat([
    header({ type: 'x', data: records }),
    padded(records),
    archive({ name: 'e' }),
  ]);
  assert.equal(scan(bytes)[0]?.path, 'padded');
});

test('pax global records hold until they change, own ones win', () => {
  const entries = scan(
    archive(
      { name: 'a', global: { uid: '7', mtime: '1.5', 'SCHILY.xattr.user.all': 'x' } },
      { name: 'b', pax: { uid: '8', 'SCHILY.xattr.user.own': 'y' } },
      { name: 'c', global: { uid: '' } },
    ),
  );
  assert.deepEqual(
    entries.map((e) => [e.uid, e.mtimeNanos, [...(e.xattrs?.keys() ?? [])].join()]),
    [
      [7, 5e8, 'user.all'],
      [8, 5e8, 'user.all,user.own'],
      [0, 5e8, 'user.all'],
    ],
  );
  for (const key of ['path', 'linkpath', 'GNU.sparse.name'])
    assert.throws(() => scan(archive({ global: { [key]: 'same for all' } })), /global pax header/);
});

test('GNU long names and links', () => {
  const long = 'd/'.repeat(150);
  const bytes = Buffer.concat([
    header({ name: '././@LongLink', type: 'K', data: `${long}target\0` }),
    padded(`${long}target\0`),
    header({ name: '././@LongLink', type: 'L', data: `${long}name\0` }),
    padded(`${long}name\0`),
    archive({ name: 'cut', type: '2', link: 'cut' }, { name: 'next' }),
  ]);
  assert.deepEqual(
    scan(bytes).map((e) => [e.path, e.linkPath, e.offset]),
    [
      [`${long}name`, `${long}target`, 0],
      ['next', '', 3 * 512 + 1024],
    ],
  );
});

test('labels and what GNU tar says of directories are passed over', () => {
  const entries = scan(
    archive({ name: 'label', type: 'V' }, { name: 'dir', type: 'D', data: 'Yfile\0\0' }, { name: 'f' }),
  );
  assert.deepEqual(
    entries.map((e) => `${e.kind} ${e.path}`),
    ['directory dir', 'file f'],
  );
});

test('links that state a size bring no content', () => {
  const entries = scan(archive({ name: 'a', type: '1', link: 'x', size: 5000 }, { name: 'b' }));
  assert.deepEqual(
    entries.map((e) => e.path),
    ['a', 'b'],
  );
});

test('an archive may end without zeros, and with anything behind them', () => {
  assert.equal(scan(member({ name: 'a', data: 'x' })).length, 1);
  assert.equal(scan(Buffer.concat([member({ name: 'a' }), Buffer.alloc(512)])).length, 1);
  assert.equal(scan(Buffer.concat([archive({ name: 'a' }), Buffer.alloc(9000, 7)])).length, 1);
  assert.equal(scan(END).length, 0);
});

test('chunks cut anywhere give the same entries', () => {
  const bytes = archive(
    { name: 'a', data: 'x'.repeat(1500), pax: { path: 'p'.repeat(600), mtime: '1.5' } },
    { name: 'dir/', type: '5' },
    {
      name: 'sparse',
      data: `${padded('2\n0\n3\n700\n2\n').toString('latin1')}abcde`,
      pax: {
        'GNU.sparse.major': '1',
        'GNU.sparse.minor': '0',
        'GNU.sparse.name': 'real',
        'GNU.sparse.realsize': '1000',
      },
    },
    { name: 'z' },
  );
  const whole = scan(bytes);
  assert.equal(whole.length, 4);
  for (const step of [1, 7, 511, 512, 513, 1000, 4096])
    assert.deepEqual(scan(bytes, step), whole, `steps of ${step}`);
});

test('property: what a builder writes is what comes out', () => {
  const name = fc.string({
    unit: fc.integer({ min: 1, max: 255 }).map((c) => String.fromCharCode(c)),
    minLength: 1,
    maxLength: 300,
  });
  const item = fc.record({
    path: name.filter((n) => !n.endsWith('/')),
    data: fc.uint8Array({ maxLength: 2000 }),
    uid: fc.integer({ min: 0, max: 0xfffffffe }),
    seconds: fc.integer({ min: -(2 ** 31), max: 2 ** 33 }),
    value: fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((c) => String.fromCharCode(c)),
      maxLength: 40,
    }),
  });
  fc.assert(
    fc.property(fc.array(item, { maxLength: 5 }), fc.integer({ min: 1, max: 3000 }), (items, step) => {
      const bytes = archive(
        ...items.map(({ path, data, uid, seconds, value }) => ({
          name: 'x',
          data,
          uid,
          mtime: seconds,
          pax: { path, 'SCHILY.xattr.user.v': value },
        })),
      );
      const entries = scan(bytes, step);
      assert.deepEqual(
        entries.map((e) => [
          e.path,
          e.content.toString('hex'),
          e.uid,
          e.mtimeSeconds,
          Buffer.from(e.xattrs?.get('user.v') ?? []).toString('latin1'),
        ]),
        items.map((i) => [i.path, Buffer.from(i.data).toString('hex'), i.uid, i.seconds, i.value]),
      );
    }),
    { numRuns: 200 },
  );
});
