import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { type Collected, scan } from './collector.ts';

const vectors = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'vectors', 'tar');

/**
 * One tree as four tools wrote it: GNU tar 1.34 (pax with -S --xattrs, gnu with -S), bsdtar 3.6.2 (pax) and
 * Python's tarfile (gnu, without the sparse file).
 */
function entries(name: string): ReadonlyMap<string, Collected> {
  const all = scan(gunzipSync(readFileSync(join(vectors, `${name}.tar.gz`))));
  return new Map(all.map((e) => [e.path.replace(/^\.\//, '').replace(/\/$/, ''), e]));
}

const DEEP = `${'d'.repeat(60)}/${'e'.repeat(60)}/name`;

/**
 * What each made of 04:05:06.75 before 1970, from 04:05:06: GNU's old format rounds down, Python towards 1970, and bsdtar
 * writes "-312753294.75" where it means -312753293.25, which nobody can tell from the outside.
 */
const SOFT_TIME: Readonly<Record<string, number>> = {
  'gnu-pax': 0.75,
  'gnu-gnu': 0,
  'bsd-pax': -0.75,
  'python-gnu': 1,
};

for (const [name, exact] of [
  ['gnu-pax', true],
  ['gnu-gnu', false],
  ['bsd-pax', true],
  ['python-gnu', false],
] as const) {
  test(`${name}: names, kinds, numbers, times`, () => {
    const tree = entries(name);
    const get = (path: string) => tree.get(path) as Collected;
    assert.equal(get(DEEP).content.toString(), 'deep');
    const [file, hard] = [get('file'), get('hard')].sort((a, b) => a.kind.localeCompare(b.kind)) as [
      Collected,
      Collected,
    ];
    assert.deepEqual([file.kind, hard.kind, file.content.toString()], ['file', 'link', 'content']);
    assert.match(hard.linkPath, /^(\.\/)?(file|hard)$/);
    assert.equal(file.mtimeSeconds, Date.UTC(2040, 0, 2, 3, 4, 5) / 1000);
    assert.equal(file.mtimeNanos, exact ? 123456789 : 0);
    const soft = get('soft');
    const before1970 = Date.UTC(1960, 1, 3, 4, 5, 6) / 1000;
    assert.deepEqual([soft.kind, soft.linkPath], ['symlink', 'file']);
    const time = soft.mtimeSeconds - before1970 + soft.mtimeNanos / 1e9;
    assert.equal(time, SOFT_TIME[name]);
    const { kind, rdevMajor, rdevMinor } = get('null');
    assert.deepEqual([kind, rdevMajor, rdevMinor], ['character', 1, 3]);
    assert.deepEqual([get('fifo').kind, get('fifo').uid, get('fifo').gid], ['fifo', 3_000_000, 5]);
    if (!exact) return;
    const [, first] = [...tree].find(([, e]) => e.kind === 'file' && e.size === 7) ?? [];
    assert.equal(Buffer.from(first?.xattrs?.get('user.x') ?? []).toString(), 'a=b');
  });
}

for (const name of ['gnu-pax', 'gnu-gnu', 'bsd-pax']) {
  test(`${name}: a sparse file of seven stretches`, () => {
    const sparse = entries(name).get('sparse');
    const expected = Buffer.alloc(400_000);
    for (let i = 1; i <= 7; i++) expected.write(String(i), i * 50_000);
    assert.ok(sparse !== undefined);
    assert.ok(sparse.content.equals(expected));
    assert.ok(sparse.holes > 300_000, `${sparse.holes} bytes of holes`);
  });
}
