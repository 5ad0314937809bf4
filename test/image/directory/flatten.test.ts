import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { S_IFCHR, S_IFIFO } from '../../../src/image/tree.ts';
import { flattened, type Listed, typeOf } from './memory-sink.ts';
import { type Entry, makeLayer, missing, mknod, opaque, setXattr, whiteout } from './tree-on-host.ts';

const skip = missing() ?? false;
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-flatten-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const paths = (listed: Map<string, Listed>): string[] => [...listed.keys()].sort();

test('a layer that is gone, or is a file, is named', () => {
  assert.throws(() => flattened([join(dir, 'gone')]), { code: 'aborted', message: /gone disappeared/ });
  writeFileSync(join(dir, 'file'), '');
  assert.throws(() => flattened([join(dir, 'file')]), {
    code: 'invalid-argument',
    message: /not a directory/,
  });
});

test('a path longer than the kernel takes is refused, not cut', () => {
  const deep = Array.from({ length: 9 }, () => 'n'.repeat(250)).join('/');
  for (const half of ['a', 'b']) mkdirSync(join(dir, half, deep), { recursive: true });
  renameSync(join(dir, 'b'), join(dir, 'a', deep, 'b'));
  try {
    assert.throws(() => flattened([dir]), {
      code: 'unimplemented',
      message: /path of 4\d{3} bytes, at most 4095/,
    });
  } finally {
    // Node's own removal cannot go that deep.
    execFileSync('rm', ['-rf', dir]);
  }
});

test('layers that would have to be followed are refused, naming the mark', { skip }, () => {
  for (const mark of ['redirect', 'metacopy', 'whiteout']) {
    const layer = join(dir, mark);
    mkdirSync(join(layer, 'sub'), { recursive: true });
    setXattr(join(layer, 'sub'), `trusted.overlay.${mark}`, 'x');
    assert.throws(() => flattened([layer]), {
      code: 'unimplemented',
      message: new RegExp(`overlay\\.${mark}`),
    });
  }
});

test('a FIFO in a layer is not waited for, a device is not opened', { skip }, () => {
  mknod(join(dir, 'fifo'), 0o010600);
  mknod(join(dir, 'null'), 0o020666, { major: 1, minor: 3 });
  mknod(join(dir, 'high'), 0o060600, { major: 259, minor: 70_000 });
  const listed = flattened([dir]);
  assert.equal(typeOf(listed.get('fifo') as Listed), S_IFIFO);
  assert.deepEqual(
    ['null', 'high'].map((name) => [listed.get(name)?.rdevMajor, listed.get(name)?.rdevMinor]),
    [
      [1, 3],
      [259, 70_000],
    ],
  );
});

test('names are bytes, whatever they mean', () => {
  const name = Buffer.from([0x61, 0xff, 0xfe, 0x0a, 0x20, 0xc3, 0xbc]);
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), name]), 'x');
  symlinkSync(name, Buffer.from(`${dir}/link`));
  const listed = flattened([dir]);
  assert.equal(listed.get(name.toString('latin1'))?.content, 'x');
  assert.equal(listed.get('link')?.target, name.toString('latin1'));
});

test("owner, mode, time, holes and every attribute but the host's own come along", { skip }, () => {
  const path = join(dir, 'f');
  writeFileSync(path, 'content');
  chownSync(path, 100_000, 2_000_000);
  chmodSync(path, 0o6751);
  setXattr(path, 'user.mine', 'a\0b');
  setXattr(path, 'trusted.other', '');
  setXattr(path, 'trusted.overlay.origin', 'handle');
  setXattr(path, 'security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex'));
  // Node cannot set a time before 1970.
  execFileSync('touch', ['-d', '@-1.5', path]);
  const { node: _, ...file } = flattened([dir]).get('f') as Listed;
  assert.deepEqual([...(file.xattrs?.keys() ?? [])].sort(), [
    'security.capability',
    'trusted.other',
    'user.mine',
  ]);
  assert.equal(Buffer.from(file.xattrs?.get('user.mine') ?? []).toString(), 'a\0b');
  assert.deepEqual(
    [file.uid, file.gid, file.mode, file.mtimeSeconds, file.mtimeNanos, file.content],
    [100_000, 2_000_000, 0o106751, -2, 500_000_000, 'content'],
  );
});

test('opaque and whiteouts hide what is below, in the root as well', { skip }, () => {
  const [top, middle, bottom] = ['top', 'middle', 'bottom'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
  ];
  makeLayer(bottom, [
    ['gone', { kind: 'file', content: '' }],
    ['cleared/old', { kind: 'file', content: '' }],
    ['replaced/old', { kind: 'file', content: '' }],
    ['revived/old', { kind: 'file', content: '' }],
    ['kept/old', { kind: 'file', content: '' }],
  ]);
  makeLayer(middle, [
    ['cleared/new', { kind: 'file', content: '' }],
    ['replaced', { kind: 'file', content: '' }],
    ['revived', { kind: 'whiteout' }],
    ['whiteout-of-nothing', { kind: 'whiteout' }],
  ]);
  opaque(join(middle, 'cleared'));
  makeLayer(top, [
    ['gone', { kind: 'whiteout' }],
    ['cleared/newest', { kind: 'file', content: '' }],
    ['replaced/new', { kind: 'file', content: '' }],
    ['revived/new', { kind: 'file', content: '' }],
    ['kept/new', { kind: 'file', content: '' }],
  ]);
  const below = ['cleared', 'cleared/new', 'cleared/newest', 'kept', 'kept/new', 'kept/old'];
  const all = ['', ...below, 'replaced', 'replaced/new', 'revived', 'revived/new'];
  assert.deepEqual(paths(flattened([top, middle, bottom])), all);
  opaque(middle);
  assert.ok(!flattened([top, middle, bottom]).has('kept/old'));
  assert.ok(flattened([top, middle, bottom]).has('kept/new'));
});

test('a rootless containerd marks with user.overlay', { skip }, () => {
  makeLayer(join(dir, '1'), [['d/old', { kind: 'file', content: '' }]]);
  makeLayer(join(dir, '2'), [['d/new', { kind: 'file', content: '' }]]);
  setXattr(join(dir, '2/d'), 'user.overlay.opaque', 'y');
  const layers = [join(dir, '2'), join(dir, '1')];
  assert.deepEqual(paths(flattened(layers, 'overlay', 'user')), ['', 'd', 'd/new']);
  assert.equal(flattened(layers, 'overlay', 'user').get('d')?.xattrs?.size ?? 0, 0);
  assert.ok(flattened(layers).has('d/old'), "to a root overlay that attribute is a file's own");
});

test('an upper directory stays a layer; a plain directory is taken as it is', { skip }, () => {
  mkdirSync(join(dir, 'd'));
  opaque(join(dir, 'd'));
  setXattr(join(dir, 'd'), 'trusted.overlay.origin', 'x');
  whiteout(join(dir, 'w'));
  const upper = flattened([dir], 'upper');
  assert.deepEqual([...(upper.get('d')?.xattrs?.keys() ?? [])], ['trusted.overlay.opaque']);
  assert.equal(typeOf(upper.get('w') as Listed), S_IFCHR);
  const plain = flattened([dir], 'plain');
  assert.equal(plain.get('d')?.xattrs?.size, 2);
  assert.equal(typeOf(plain.get('w') as Listed), S_IFCHR);
});

test('names of one file are one node within a layer, and two across layers', { skip }, () => {
  for (const layer of ['1', '2']) {
    mkdirSync(join(dir, layer));
    writeFileSync(join(dir, layer, `a${layer}`), layer);
    linkSync(join(dir, layer, `a${layer}`), join(dir, layer, `b${layer}`));
  }
  linkSync(join(dir, '1/a1'), join(dir, '2/c'));
  const listed = flattened([join(dir, '2'), join(dir, '1')]);
  const node = (name: string) => listed.get(name)?.node;
  assert.equal(node('a1'), node('b1'));
  assert.equal(node('a2'), node('b2'));
  assert.notEqual(node('c'), node('a1'));
  assert.equal(listed.get('c')?.content, '1');
});

const name = fc.constantFrom('a', 'b', 'c');
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/'));
const entry: fc.Arbitrary<Entry> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('file' as const), content: fc.string({ maxLength: 8 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constantFrom('directory', 'opaque', 'fifo', 'whiteout', 'whiteout') }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('symlink', 'link'), to: path }) },
);
const layer = fc.array(fc.tuple(path, entry), { maxLength: 12 });

/** The kernel's own view: type, mode, owner, time, target, content and which names are one file, by path. */
function kernelView(layers: readonly string[]): string {
  const script =
    'mount -t overlay overlay -o "ro,index=off,lowerdir=$1" "$2" && cd "$2" &&' +
    // A whiteout that hides nothing has a name in the kernel's listing, and find then finds no file.
    " { find . -printf '%P %y %m %U %G %T@ %l\\n' || true; } 2>/dev/null &&" +
    " find . -type f -exec md5sum {} + && find . ! -type d -printf '%P inode %i\\n'";
  mkdirSync(join(dir, 'merged'), { recursive: true });
  const args = [
    '-m',
    '--propagation',
    'private',
    'sh',
    '-euc',
    script,
    'sh',
    layers.join(':'),
    join(dir, 'merged'),
  ];
  return execFileSync('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'] }).toString();
}

const TYPE_LETTERS: Readonly<Record<number, string>> = { 1: 'p', 2: 'c', 4: 'd', 8: 'f', 10: 'l' };

function ownView(listed: Map<string, Listed>): string[] {
  return [...listed].map(([at, e]) => {
    const time = `${e.mtimeSeconds}.${String(e.mtimeNanos).padStart(9, '0')}0`;
    return `${at} ${TYPE_LETTERS[e.mode >> 12]} ${(e.mode & 0o7777).toString(8)} ${e.uid} ${e.gid} ${time} ${e.target ?? ''}`;
  });
}

/** Sets of names of one file, from what tells files apart. */
function linked(ids: readonly (readonly [path: string, id: string])[]): string[] {
  const byId = Map.groupBy(ids, ([, id]) => id);
  return [...byId.values()]
    .map((names) =>
      names
        .map(([at]) => at)
        .sort()
        .join('='),
    )
    .sort();
}

test("random layers give what the kernel's overlayfs shows", { skip }, () => {
  let compared = 0;
  fc.assert(
    fc.property(fc.array(layer, { minLength: 2, maxLength: 4 }), (layers) => {
      rmSync(dir, { recursive: true });
      const roots = layers.map((_, i) => join(dir, `layer${i}`));
      for (const [i, entries] of layers.entries()) makeLayer(roots[i] as string, entries);
      const lines = kernelView(roots).split('\n').filter(Boolean);
      const listed = flattened(roots);
      const inodes = lines
        .map((line) => /^(.*) inode (\d+)$/.exec(line))
        .filter((m) => m !== null && listed.has(m[1] as string)) as RegExpExecArray[];
      const sums = lines.filter((line) => /^[0-9a-f]{32} {2}/.test(line));
      const entries = lines.filter((line) => !/ inode \d+$|^[0-9a-f]{32} {2}/.test(line));
      assert.deepEqual(ownView(listed).sort(), entries.sort());
      const files = [...listed].filter(([, e]) => TYPE_LETTERS[e.mode >> 12] === 'f');
      const md5 = (text: string) => createHash('md5').update(text, 'latin1').digest('hex');
      assert.deepEqual(files.map(([at, e]) => `${md5(e.content ?? '')}  ./${at}`).sort(), sums.sort());
      const others = [...listed].filter(([, e]) => TYPE_LETTERS[e.mode >> 12] !== 'd');
      assert.deepEqual(
        linked(others.map(([at, e]) => [at, String(e.node)])),
        linked(inodes.map((m) => [m[1] as string, m[2] as string])),
      );
      compared += entries.length;
    }),
    { numRuns: 60 },
  );
  assert.ok(compared > 200, `${compared} entries compared`);
});
