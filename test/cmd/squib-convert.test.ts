import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { makeSampleTree } from '../image/ext4/sample-tree.ts';

const PROGRAM = fileURLToPath(new URL('../../cmd/squib.ts', import.meta.url));
let dir: string;
let tree: string;
let tar: string;

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-convert-'));
  tree = join(dir, 'tree');
  tar = join(dir, 'tree.tar');
  mkdirSync(tree);
  makeSampleTree(tree);
  // Marks of overlayfs: a layer's tar has none, and they are dropped from one.
  const unmark = 'import os,sys; [os.removexattr(sys.argv[1], n) for n in os.listxattr(sys.argv[1])]';
  execFileSync('python3', ['-c', unmark, join(tree, 'opaque')]);
  execFileSync('tar', [
    '-cf',
    tar,
    '--format=pax',
    '--xattrs',
    '--xattrs-include=*',
    '--acls',
    '--sort=name',
    '-C',
    tree,
    '.',
  ]);
});
after(() => rmSync(dir, { recursive: true }));

function convert(args: readonly string[], input?: Uint8Array) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, 'image', 'convert', ...args], {
    timeout: 60_000,
    ...(input === undefined ? {} : { input }),
  });
  return { status, stdout: stdout.toString(), stderr: stderr.toString() };
}

/** No file beside what the test made itself. */
const leftovers = () => readdirSync(dir).filter((name) => !['tree', 'tree.tar'].includes(name));

test('what cannot be converted leaves nothing, and names entry and reason', () => {
  const out = join(dir, 'bad.ext4');
  const bytes = readFileSync(tar);
  const damaged = Buffer.from(bytes);
  damaged.write('x', damaged.indexOf('ustar') - 200);
  for (const [args, input, status, message] of [
    [['-', out], bytes.subarray(0, 3000), 3, /standard input: .*offset|entry/],
    [['-', out], damaged, 3, /standard input: .*checksum/],
    [[join(dir, 'none.tar'), out], undefined, 1, /none\.tar" does not exist/],
    [[tree, tar, out], undefined, 1, /is a directory, and not all sources are/],
    [['-', '-', out], undefined, 1, /may come once/],
    [[tar, out, '--uuid', '12'], undefined, 1, /expected 32 hex digits/],
    [[tar, join(dir, 'none/bad.ext4')], undefined, 1, /ENOENT/],
    [[tar], undefined, 2, /OUT is missing/],
  ] as const) {
    const result = convert(args, input);
    assert.equal(result.status, status, `${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, message);
    assert.deepEqual(leftovers(), []);
  }
});

test('a tree survives directory → ext4 → tar → ext4 → tar, byte for byte', () => {
  const [one, two] = [join(dir, 'one.ext4'), join(dir, 'two.ext4')];
  const exported = (image: string) =>
    spawnSync(process.execPath, [PROGRAM, 'image', 'export', image], { maxBuffer: 1 << 28 }).stdout;
  // The order of large directories depends on the uuid.
  const uuid = ['--uuid', '0123456789abcdef0123456789abcdef'];
  const made = convert([tree, one, '--json', ...uuid]);
  assert.equal(made.status, 0, made.stderr);
  const { bytes, inodes } = JSON.parse(made.stdout);
  assert.equal(bytes, statSync(one).size);
  assert.ok(inodes > 715 && inodes < 725, `${inodes}`);
  const first = exported(one);
  assert.equal(convert(['-', two, ...uuid], first).status, 0);
  assert.ok(first.equals(exported(two)), 'the second tar differs from the first');
  assert.match(execFileSync('e2fsck', ['-fn', one], { stdio: 'pipe' }).toString(), /files/);
  const unpacked = join(dir, 'unpacked');
  mkdirSync(unpacked);
  execFileSync('tar', ['-xpf', '-', '-C', unpacked, '--xattrs', '--xattrs-include=*'], {
    input: first,
    stdio: 'pipe',
  });
  const special = ['gone', 'gone-too', 'pipe'].map((name) => `--exclude=${name}`);
  execFileSync('diff', ['-r', '--no-dereference', ...special, tree, unpacked]);
  for (const name of ['one.ext4', 'two.ext4', 'unpacked']) rmSync(join(dir, name), { recursive: true });
});

test('the same tar gives the same image, compressed or not; --uuid changes it', () => {
  const bytes = readFileSync(tar);
  const image = (args: readonly string[], input?: Uint8Array) => {
    const out = join(dir, 'out.ext4');
    const { status, stderr } = convert([...args, out], input);
    assert.equal(status, 0, stderr);
    const made = readFileSync(out);
    rmSync(out);
    return made;
  };
  const plain = image([tar]);
  assert.ok(plain.equals(image(['-'], gzipSync(bytes))));
  assert.ok(plain.equals(image(['-'], zstdCompressSync(bytes))));
  const named = image(['--uuid', '00112233-4455-6677-8899-aabbccddeeff', tar]);
  assert.equal(named.subarray(1024 + 0x68, 1024 + 0x78).toString('hex'), '00112233445566778899aabbccddeeff');
});

test('several directories merge like an overlay, several tars like layers', () => {
  const [lower, upper, out] = [join(dir, 'lower'), join(dir, 'upper'), join(dir, 'merged.ext4')];
  mkdirSync(join(lower, 'etc'), { recursive: true });
  mkdirSync(join(upper, 'etc'), { recursive: true });
  writeFileSync(join(lower, 'etc/a'), 'lower a');
  writeFileSync(join(lower, 'etc/b'), 'lower b');
  writeFileSync(join(upper, 'etc/a'), 'upper a');
  execFileSync('mknod', [join(upper, 'etc/b'), 'c', '0', '0']);
  const list = () => spawnSync(process.execPath, [PROGRAM, 'image', 'ls', '-r', out]).stdout.toString();
  assert.equal(convert([lower, upper, out]).status, 0);
  assert.equal(list(), 'etc\netc/a\n');
  const tars = [lower, upper].map((tree, i) => {
    const path = join(dir, `${i}.tar`);
    if (i === 1) {
      rmSync(join(tree, 'etc/b'));
      writeFileSync(join(tree, 'etc/.wh.b'), '');
    }
    execFileSync('tar', ['-cf', path, '-C', tree, '.']);
    return path;
  });
  assert.equal(convert([...tars, out]).status, 0);
  assert.equal(list(), 'etc\netc/a\n');
  const content = spawnSync(process.execPath, [PROGRAM, 'image', 'cat', out, 'etc/a']).stdout.toString();
  assert.equal(content, 'upper a');
  for (const name of ['lower', 'upper', 'merged.ext4', '0.tar', '1.tar'])
    rmSync(join(dir, name), { recursive: true });
  assert.ok(existsSync(tar));
});
