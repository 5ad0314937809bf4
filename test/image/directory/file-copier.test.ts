import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { flattenDirectories } from '../../../src/image/directory/flatten.ts';
import { Libc } from '../../../src/image/directory/libc.ts';
import { createExt4Image } from '../../../src/image/ext4/image.ts';
import { debugfs, fsck } from '../snapshots.ts';

const libc = await Libc.load();
const MIB = 2 ** 20;
const INLINE_ROOM_BYTES = 60;
let dir: string;
let source: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-copier-'));
  source = join(dir, 'source');
  mkdirSync(source);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A file with the given pieces of noise and holes elsewhere. */
function sparseFile(
  name: string,
  size: number,
  pieces: readonly (readonly [offset: number, length: number])[],
): void {
  const fd = openSync(join(source, name), 'w');
  for (const [offset, length] of pieces) writeSync(fd, randomBytes(length), 0, length, offset);
  closeSync(fd);
  truncateSync(join(source, name), size);
}

function convert(image: string): void {
  const builder = createExt4Image(image, { uuid: new Uint8Array(16) });
  const request = { kind: 'plain', layers: [source], namespace: 'trusted' } as const;
  flattenDirectories(builder, builder.tree.root, request, libc);
  builder.finish();
  fsck(image);
}

/** Compares every file with what debugfs reads from the image. */
function assertSame(image: string, names: readonly string[]): void {
  for (const name of names) {
    const out = join(dir, 'out');
    debugfs(image, `dump /${name} ${out}`);
    // Of content inside an inode it shows all the room there is for it.
    if (statSync(out).size === INLINE_ROOM_BYTES) truncateSync(out, statSync(join(source, name)).size);
    const [own, original] = [out, join(source, name)].map((path) =>
      createHash('sha256').update(readFileSync(path)).digest('hex'),
    );
    assert.equal(own, original, name);
    rmSync(out);
  }
}

/** Sizes around what is read at once and copied by the kernel, holes at both ends and off block borders. */
const FILES = {
  'one-byte': [1, [[0, 1]]],
  'just-small': [65_536, [[0, 65_536]]],
  'just-large': [65_537, [[0, 65_537]]],
  'odd-end': [3 * MIB + 5, [[0, 3 * MIB + 5]]],
  'hole-first': [2 * MIB + 1, [[2 * MIB, 1]]],
  'hole-last': [4 * MIB, [[0, 100]]],
  'all-hole': [9 * MIB + 3, []],
  islands: [
    8 * MIB,
    [
      [4096, 70_000],
      [3 * MIB + 17, 5],
      [5 * MIB, MIB],
    ],
  ],
} as const;

test("content and holes of files of every shape arrive, by the kernel's copy", () => {
  for (const [name, [size, pieces]] of Object.entries(FILES)) sparseFile(name, size, pieces);
  const image = join(dir, 'image');
  convert(image);
  assertSame(image, Object.keys(FILES));
  assert.ok(statSync(image).size < 9 * MIB, 'holes take no room in the image');
});

test('from another file system, which the kernel cannot copy from, it is read and written', {
  skip: process.getuid?.() === 0 ? false : 'needs root to mount',
}, () => {
  const image = join(dir, 'image');
  const script = [
    'mount -t tmpfs tmpfs "$1"',
    'head -c 3000001 /dev/urandom >"$1/noise"',
    'truncate -s 20M "$1/hole"',
    '"$2" "$3" job "$4"',
    'sha256sum <"$1/noise"',
  ].join(' && ');
  const job = {
    kind: 'image',
    directories: 'plain',
    layers: [source],
    namespace: 'trusted',
    uuid: '0'.repeat(32),
    places: [{ path: image }],
  };
  const converter = join(import.meta.dirname, '../../../cmd/convert.ts');
  const args = [
    '-m',
    '--propagation',
    'private',
    'sh',
    '-euc',
    script,
    'sh',
    source,
    process.execPath,
    converter,
    JSON.stringify(job),
  ];
  const output = execFileSync('unshare', args).toString();
  fsck(image);
  debugfs(image, `dump /noise ${join(dir, 'out')}`);
  const sum = createHash('sha256')
    .update(readFileSync(join(dir, 'out')))
    .digest('hex');
  assert.match(output, new RegExp(sum));
  assert.ok(statSync(image).size < 5 * MIB);
});
