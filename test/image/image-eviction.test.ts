import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { Libc } from '../../src/image/directory/libc.ts';
import { evictImages, noteLayer, sharedImagePath } from '../../src/image/image-eviction.ts';

const MIB = 2 ** 20;
const NOW_MS = 1_800_000_000_000;
const libc = await Libc.load();
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-evict-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** An image of 1 MiB, last used so many minutes ago; its layer exists unless `orphaned`. */
function image(name: string, minutes: number, orphaned = false): string {
  const path = sharedImagePath(dir, name);
  mkdirSync(dirname(path));
  writeFileSync(path, Buffer.alloc(MIB, 1));
  noteLayer(dirname(path), orphaned ? join(dir, 'no', 'such', 'layer') : dir);
  const seconds = NOW_MS / 1000 - minutes * 60;
  utimesSync(path, seconds, seconds);
  return path;
}

const evict = (bytesMax: number): string[] =>
  evictImages(dir, bytesMax, libc, NOW_MS).map((gone) => gone.slice(dir.length + 1));

test('what a process of the host has open stays, though it is the oldest', async () => {
  const oldest = image('a', 30);
  image('b', 20);
  image('c', 10);
  // Another process, which holds it as a VMM does that got the file passed.
  const holder = spawn('sh', ['-c', 'exec 3<"$1"; echo open; read line', 'sh', oldest], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  assert.deepEqual(evict(MIB), ['b', 'c']);
  holder.stdin.end();
  await once(holder, 'exit');
  assert.deepEqual(evict(0), ['a']);
  assert.ok(!existsSync(dirname(oldest)));
});

test('what this process has open stays as well', () => {
  const path = image('a', 30);
  const fd = openSync(path, 'r');
  assert.deepEqual(evict(0), []);
  closeSync(fd);
  assert.deepEqual(evict(0), ['a']);
});

test('nothing goes within the bound; beyond it the least recently used go first', () => {
  for (const [name, minutes] of [
    ['new', 10],
    ['old', 40],
    ['middle', 20],
  ] as const)
    image(name, minutes);
  assert.deepEqual(evict(3 * MIB), []);
  assert.deepEqual(evict(2 * MIB), ['old']);
  assert.deepEqual(evict(MIB / 2), ['middle', 'new']);
});

test('an image that was just made is not taken from its shim', () => {
  image('fresh', 0.5);
  assert.deepEqual(evict(0), []);
});

test('images whose layers are gone go first, and within the bound too', () => {
  image('old', 40);
  image('orphan', 10, true);
  assert.deepEqual(evict(10 * MIB), ['orphan']);
});

test('what is not ours, or is being built, is left alone', () => {
  mkdirSync(join(dir, 'building'));
  writeFileSync(join(dir, 'building', 'image.ext4.tmp-1'), 'x');
  writeFileSync(join(dir, 'a file'), 'x');
  assert.deepEqual(evict(0), []);
  assert.ok(existsSync(join(dir, 'building', 'image.ext4.tmp-1')));
});
