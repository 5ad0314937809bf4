import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TarBudget } from '../../../src/image/tar/budget.ts';
import { archive, END, header, type Member, padded } from './archive.ts';
import { type Collected, scan } from './collector.ts';

const CONTENT = Buffer.alloc(2000);
CONTENT.write('abc', 0);
CONTENT.write('defgh', 1500);

function same(bytes: Uint8Array): void {
  for (const step of [bytes.length, 1, 512, 700]) {
    const [entry, next] = scan(bytes, step) as [Collected, Collected];
    assert.deepEqual([entry.path, entry.size, entry.holes], ['real', 2000, 1992]);
    assert.ok(entry.content.equals(CONTENT));
    assert.equal(next.path, 'next');
  }
}

const old =
  (pairs: readonly (readonly [number, number])[], size: number, more = false) =>
  (block: Buffer) => {
    block.write('ustar  \0', 257, 'latin1');
    pairs.forEach(([offset, length], i) => {
      block.write(offset.toString(8).padStart(11, '0'), 386 + i * 24, 'latin1');
      block.write(length.toString(8).padStart(11, '0'), 398 + i * 24, 'latin1');
    });
    block[482] = more ? 1 : 0;
    block.write(size.toString(8).padStart(11, '0'), 483, 'latin1');
  };

test('old GNU', () => {
  const edit = old(
    [
      [0, 3],
      [1500, 5],
      [2000, 0],
    ],
    2000,
  );
  same(archive({ name: 'real', type: 'S', data: 'abcdefgh', edit }, { name: 'next' }));
});

test('old GNU with extension blocks', () => {
  const block = Buffer.alloc(512);
  const pairs = [
    [1500, 1],
    [1501, 1],
    [1502, 3],
  ] as const;
  pairs.forEach(([offset, length], i) => {
    block.write(offset.toString(8).padStart(11, '0'), i * 24, 'latin1');
    block.write(length.toString(8).padStart(11, '0'), i * 24 + 12, 'latin1');
  });
  const edit = old(
    [
      [0, 1],
      [1, 1],
      [2, 1],
      [10, 0],
    ],
    2000,
    true,
  );
  const head = header({ name: 'real', type: 'S', data: 'abcdefgh', edit });
  same(Buffer.concat([head, block, padded('abcdefgh'), archive({ name: 'next' })]));
});

test('pax 0.0, 0.1 and 1.0', () => {
  const zero = { 'GNU.sparse.size': '2000', 'GNU.sparse.name': 'real' };
  const next = { name: 'next' };
  same(archive({ name: 'x', data: 'abcdefgh', pax: { ...zero, 'GNU.sparse.map': '0,3,1500,5' } }, next));
  const repeated = ['offset=0', 'numbytes=3', 'offset=1500', 'numbytes=5'].map((r) => `GNU.sparse.${r}`);
  const records = ['GNU.sparse.size=2000', 'GNU.sparse.name=real', 'GNU.sparse.numblocks=2', ...repeated]
    .map((r) => `${r.length + 4} ${r}\n`)
    .join('');
  const pax = Buffer.concat([header({ type: 'x', data: records }), padded(records)]);
  same(Buffer.concat([pax, archive({ name: 'x', data: 'abcdefgh' }, next)]));
  const one = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': 'real',
    'GNU.sparse.realsize': '2000',
  };
  same(
    archive(
      { name: 'x', data: `${padded('2\n0\n3\n1500\n5\n').toString('latin1')}abcdefgh`, pax: one },
      next,
    ),
  );
});

test('a file that is one hole', () => {
  const pax = { 'GNU.sparse.major': '1', 'GNU.sparse.name': 'real', 'GNU.sparse.realsize': '9' };
  const [entry] = scan(archive({ name: 'x', data: padded('1\n9\n0\n'), pax }));
  assert.equal(entry?.holes, 9);
  const [none] = scan(archive({ name: 'x', data: padded('0\n'), pax }));
  assert.equal(none?.holes, 9);
});

test('maps that lie are refused', () => {
  const map = (value: string, data = 'abcdefgh', size = '2000'): Member => ({
    name: 'x',
    data,
    pax: { 'GNU.sparse.size': size, 'GNU.sparse.name': 'real', 'GNU.sparse.map': value },
  });
  for (const [value, reason] of [
    ['0,3,1500,4', /lists 7 bytes of data, the archive has 8/],
    ['0,3,1500,6', /lists 9 bytes of data, the archive has 8/],
    ['1500,3,0,5', /overlap/],
    ['0,3,2,5', /overlap/],
    ['0,3,1996,5', /exceed/],
    ['0,3,1500', /offset without a length/],
    ['0,3,-1,5', /not a decimal/],
    ['0,3,,5', /not a decimal/],
    ['9007199254740991,8', /exceed/],
  ] as const)
    assert.throws(() => scan(archive(map(value))), reason, value);
  const one = { 'GNU.sparse.major': '1', 'GNU.sparse.name': 'r', 'GNU.sparse.realsize': '2000' };
  for (const [data, reason] of [
    ['2\n0\n3\n1500\n', /sparse map|not a decimal/],
    ['x\n', /not a decimal/],
    ['\n', /not a decimal/],
    ['12345678901234567', /not made of numbers/],
    ['99999999999\n', /at most 1048576/],
    ['', /sparse map exceeds the entry|lists 0|truncated/],
  ] as const)
    assert.throws(
      () => scan(archive({ name: 'x', data: data === '' ? data : padded(data), pax: one })),
      reason,
      data,
    );
  assert.throws(
    () => scan(archive({ pax: { ...one, 'GNU.sparse.major': '2' } })),
    /GNU.sparse.major 2 is unknown/,
  );
});

test('the number of stretches is limited', () => {
  const budget = () => new TarBudget({ sparseSegments: 2 });
  const pax = { 'GNU.sparse.size': '100', 'GNU.sparse.map': '0,1,2,1,4,1' };
  assert.throws(
    () => scan(archive({ data: 'abc', pax }), undefined, budget()),
    /3 stretches of data, at most 2/,
  );
  const edit = old(
    [
      [0, 1],
      [1, 1],
      [2, 1],
    ],
    2000,
    true,
  );
  const head = header({ name: 'real', type: 'S', data: 'abc', edit });
  assert.throws(
    () => scan(Buffer.concat([head, Buffer.alloc(512), END]), undefined, budget()),
    /more than 2 stretches/,
  );
});
