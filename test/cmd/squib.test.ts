import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeSampleTree, mke2fs, pattern } from '../image/ext4/sample-tree.ts';

const PROGRAM = fileURLToPath(new URL('../../cmd/squib.ts', import.meta.url));
let dir: string;
let image: string;

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-cmd-'));
  image = join(dir, 'image.ext4');
  mkdirSync(join(dir, 'tree/upper'), { recursive: true });
  makeSampleTree(join(dir, 'tree/upper'));
  mke2fs(join(dir, 'tree'), image);
});
after(() => rmSync(dir, { recursive: true }));

function squib(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], {
    maxBuffer: 1 << 28,
    timeout: 60_000,
  });
  return { status, stdout: stdout.toString('utf8'), stderr: stderr.toString('utf8'), bytes: stdout };
}

test('a wrong call is status 2 and says what is wrong', () => {
  for (const [args, message] of [
    [[], /usage: squib image/],
    [['pod'], /unknown command "pod"/],
    [['image'], /usage: squib image COMMAND/],
    [['image', 'mount'], /unknown command "image mount"/],
    [['image', 'ls'], /IMAGE is missing/],
    [['image', 'cat', image], /PATH is missing/],
    [['image', 'ls', image, 'a', 'b'], /unexpected argument "b"/],
    [['image', 'ls', image, '--wide'], /--wide/],
    [['image', 'export', image, '--output'], /--output/],
  ] as const) {
    const { status, stdout, stderr } = squib(...args);
    assert.deepEqual([status, stdout], [2, ''], args.join(' '));
    assert.match(stderr, message);
  }
});

test('what cannot be done is status 1, a damaged image status 3; --json has the code', () => {
  const missing = squib('image', 'ls', join(dir, 'none'), '--json');
  assert.equal(missing.status, 1);
  assert.equal(JSON.parse(missing.stderr).error.code, 'not-found');
  assert.match(squib('image', 'cat', image, 'upper').stderr, /^squib: "upper" is a directory, not a file\n$/);
  assert.match(squib('image', 'cat', image, 'upper/none').stderr, /"upper\/none" is not in the image/);
  assert.equal(squib('image', 'commit', image, dir, '--max-mib', 'much').status, 1);
  const cut = join(dir, 'cut.ext4');
  writeFileSync(cut, readFileSync(image));
  truncateSync(cut, 2 << 20);
  const damaged = squib('image', 'verify', cut);
  assert.equal(damaged.status, 3);
  assert.match(damaged.stderr, /s_blocks_count/);
});

test('help is on standard output, for every command', () => {
  const top = squib('image', '--help');
  assert.equal(top.status, 0);
  const verbs = [...top.stdout.matchAll(/^ {2}(\w+) {2,}/gm)].map((match) => match[1] as string);
  assert.ok(verbs.length >= 5, top.stdout);
  for (const verb of verbs) {
    const { status, stdout } = squib('image', verb, '--help');
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`^usage: squib image ${verb} .*--json`, 's'));
  }
  assert.equal(squib('--help').status, 0);
});

test('ls shows names a terminal can take, and more with -l, -r, --json', () => {
  assert.deepEqual(squib('image', 'ls', image).stdout.split('\n').sort(), ['', 'lost+found', 'upper']);
  assert.match(squib('image', 'ls', image, 'upper/etc').stdout, /^raw-\\xff\\x0a\\xc3$/m);
  const long = squib('image', 'ls', '-l', image, '/upper').stdout;
  assert.match(long, /^c[-rw]{9} +1 +0:0 +0,0 \S+Z gone$/m);
  assert.match(long, /^-rw-r--r-- +1 +0:0 +3000000 \S+ big$/m);
  assert.match(long, /^lrwxrwxrwx .* long-link -> x{300}$/m);
  assert.match(squib('image', 'ls', '-r', image, 'upper').stdout, /^many\/file-with-a-longer-name-699$/m);
  const lines = squib('image', 'ls', '--json', image, 'upper/etc').stdout.trim().split('\n');
  const entries = lines.map((line) => JSON.parse(line));
  const motd = entries.find((entry) => entry.path === 'motd');
  assert.deepEqual(
    [motd.type, motd.links, motd.mtimeSeconds, motd.xattrs['user.note']],
    ['file', 2, 1_700_000_000, 'dgD/'],
  );
  assert.ok(
    entries.some((entry) => entry.pathHex === Buffer.from('raw-\xff\n\xc3', 'latin1').toString('hex')),
  );
});

test('cat gives the bytes, also of holes and through symlinks', () => {
  assert.ok(squib('image', 'cat', image, 'upper/big').bytes.equals(pattern(3_000_000)));
  assert.equal(squib('image', 'cat', image, 'upper/opaque/link').stdout, 'hello\n');
  const sparse = squib('image', 'cat', image, 'upper/sparse').bytes;
  assert.equal(sparse.length, 64 << 20);
  assert.equal(sparse.subarray(0, 4).toString(), 'head');
  assert.ok(sparse.subarray(4).every((byte) => byte === 0));
});

test('export writes to a pipe or a complete file', () => {
  const piped = squib('image', 'export', image, '--layer');
  assert.equal(piped.status, 0);
  assert.ok(piped.bytes.includes('.wh.gone'));
  const out = join(dir, 'out.tar');
  const { status, stdout } = squib('image', 'export', image, '--layer', '-o', out, '--json');
  assert.equal(status, 0);
  assert.equal(JSON.parse(stdout).bytes, readFileSync(out).length);
  assert.ok(readFileSync(out).equals(piped.bytes));
  rmSync(out);
  assert.equal(squib('image', 'export', image, 'none', '-o', out).status, 1);
  assert.ok(!existsSync(out) && !readdirSync(dir).some((name) => name.includes('out.tar')));
});

test('verify tells a sound image from one whose link counts and blocks are wrong', () => {
  const sound = squib('image', 'verify', image);
  assert.equal(sound.status, 0, sound.stdout);
  assert.match(sound.stdout, /: sound; 7\d\d entries, 2\.9 MiB of data\n$/);
  const damaged = join(dir, 'damaged.ext4');
  writeFileSync(damaged, readFileSync(image));
  spawnSync('debugfs', ['-w', '-R', 'set_inode_field /upper/big links_count 3', damaged]);
  spawnSync('debugfs', ['-w', '-R', 'copy_inode /upper/big /upper/old', damaged]);
  const { status, stdout } = squib('image', 'verify', '--json', damaged);
  assert.equal(status, 3);
  const report = JSON.parse(stdout);
  assert.equal(report.isSound, false);
  assert.match(report.faults.join('\n'), /2 fewer names than links/);
  assert.match(report.faults.join('\n'), /belongs to another file too/);
});

test('commit fills a directory from a scratch', () => {
  const upperDir = join(dir, 'snapshot/fs');
  mkdirSync(upperDir, { recursive: true });
  const { status, stdout, stderr } = squib('image', 'commit', image, upperDir);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /entries, 2 whiteouts, 30\d+ bytes/);
  assert.ok(existsSync(join(upperDir, 'etc/motd')));
});
