import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { mayHaveChanges } from '../../src/image/upper/changes.ts';
import { fillUpper } from '../../src/image/upper.ts';
import { makeSampleTree, mke2fs } from './ext4/sample-tree.ts';

let dir: string;
let scratch: string;
let upperDir: string;
const BYTES_MAX = 64 << 20;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-upper-'));
  scratch = join(dir, 'scratch.ext4');
  upperDir = join(dir, 'snapshot/fs');
  mkdirSync(upperDir, { recursive: true });
  mkdirSync(join(dir, 'tree/upper'), { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true }));

const makeScratch = () => mke2fs(join(dir, 'tree'), scratch, '-O', '^has_journal');
const debugfs = (command: string) =>
  execFileSync('debugfs', ['-w', '-R', command, scratch], { stdio: ['ignore', 'pipe', 'ignore'] });
const fill = (bytesMax = BYTES_MAX) => fillUpper({ scratch, upperDir, bytesMax });
const xattrs = (path: string): string[] =>
  JSON.parse(
    execFileSync('python3', [
      '-c',
      'import json,os,sys; print(json.dumps(sorted(os.listxattr(sys.argv[1]))))',
      path,
    ]).toString(),
  );

test('over the cap, unclean, or damaged: the directory stays as it was and nothing lies beside it', async () => {
  writeFileSync(join(dir, 'tree/upper/big'), Buffer.alloc(100_000, 1));
  writeFileSync(join(upperDir, 'host'), 'of the host');
  makeScratch();
  await assert.rejects(fill(50_000), { code: 'resource-exhausted', message: /50000 bytes/ });
  debugfs('set_super_value state 0');
  await assert.rejects(fill(), { code: 'failed-precondition', message: /not unmounted/ });
  debugfs('set_super_value state 1');
  debugfs('set_inode_field /upper/big mode 0170644');
  await assert.rejects(fill(), { code: 'data-loss', message: /"big": inode \d+: mode/ });
  assert.deepEqual(readdirSync(upperDir), ['host']);
  assert.deepEqual(readdirSync(join(dir, 'snapshot')), ['fs']);
});

test('a name that comes twice writes neither through a symlink nor anywhere else', async () => {
  const outside = join(dir, 'outside');
  mkdirSync(outside);
  mkdirSync(join(dir, 'tree/upper/aaaa'));
  writeFileSync(join(dir, 'tree/upper/aaaa/x'), 'escaped');
  execFileSync('ln', ['-s', outside, join(dir, 'tree/upper/bbbb')]);
  makeScratch();
  // Both entries get the same name, in either order of their coming.
  for (const [from, to] of [
    ['aaaa', 'bbbb'],
    ['bbbb', 'aaaa'],
  ] as const) {
    makeScratch();
    const bytes = readFileSync(scratch);
    const at = bytes.indexOf(from);
    bytes.write(to, at);
    writeFileSync(scratch, bytes);
    await assert.rejects(fill(), {
      code: 'failed-precondition',
      message: new RegExp(`"/${to}(/x)?" cannot be written`),
    });
    assert.deepEqual(readdirSync(outside), []);
    assert.deepEqual(readdirSync(join(dir, 'snapshot')), ['fs']);
  }
});

test('the upper directory says what the image says, as overlayfs would have it', async () => {
  makeSampleTree(join(dir, 'tree/upper'));
  execFileSync('mknod', [join(dir, 'tree/upper/null'), 'c', '1', '3']);
  execFileSync('chown', ['1234:5678', join(dir, 'tree/upper/big')]);
  execFileSync('chmod', ['6751', join(dir, 'tree/upper/big')]);
  makeScratch();
  assert.ok(mayHaveChanges(scratch, upperDir));
  const stats = await fill();
  assert.ok(stats);
  assert.deepEqual([stats.whiteouts, stats.skippedDevices, stats.skippedAttributes], [2, 1, 0]);
  assert.deepEqual(readdirSync(join(dir, 'snapshot')), ['fs']);
  const skipped = ['null', 'gone', 'gone-too', 'pipe'].map((name) => `--exclude=${name}`);
  execFileSync('diff', ['-r', '--no-dereference', ...skipped, join(dir, 'tree/upper'), upperDir]);
  for (const name of ['gone', 'etc/deep/gone-too']) {
    const { mode, rdev } = statSync(join(upperDir, name));
    assert.deepEqual([mode & 0o170000, rdev], [0o020000, 0], name);
  }
  assert.ok(statSync(join(upperDir, 'pipe')).isFIFO());
  assert.deepEqual(readdirSync(upperDir).includes('null'), false);
  const big = statSync(join(upperDir, 'big'));
  assert.deepEqual([big.uid, big.gid, big.mode & 0o7777], [1234, 5678, 0o6751]);
  const [motd, linked] = ['motd', 'linked'].map((name) =>
    statSync(join(upperDir, 'etc', name), { bigint: true }),
  );
  assert.equal(motd?.ino, linked?.ino);
  assert.ok(statSync(join(upperDir, 'sparse')).blocks * 512 < 1 << 20);
  assert.deepEqual(xattrs(join(upperDir, 'opaque')), ['trusted.overlay.opaque']);
  assert.deepEqual(xattrs(join(upperDir, 'etc/motd')), ['system.posix_acl_access', 'user.note']);
  // The old content goes, names that are no text included.
  assert.deepEqual(await fill(), stats);
  assert.deepEqual(readdirSync(join(dir, 'snapshot')), ['fs']);
});

test('a second fill replaces the first one; an empty image empties the directory', async () => {
  writeFileSync(join(dir, 'tree/upper/first'), '1');
  makeScratch();
  await fill();
  rmSync(join(dir, 'tree/upper/first'));
  makeScratch();
  assert.ok(mayHaveChanges(scratch, upperDir));
  await fill();
  assert.deepEqual(readdirSync(upperDir), []);
  assert.equal(mayHaveChanges(scratch, upperDir), false);
  assert.equal(await fill(), undefined);
});
