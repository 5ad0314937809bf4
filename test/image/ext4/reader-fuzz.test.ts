import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SquibError } from '../../../src/base/errors.ts';
import { exportTar } from '../../../src/image/export/export-tar.ts';
import { Ext4Reader } from '../../../src/image/ext4/reader.ts';
import { verifyTree } from '../../../src/image/ext4/verify-tree.ts';
import { convertTar } from '../../../src/image/tar/convert.ts';
import { fillUpper } from '../../../src/image/upper.ts';

/** Set to repeat a run that failed; printed by each. */
const SEED = Number(process.env['SQUIB_FUZZ_SEED'] ?? Date.now() % 2 ** 31);
/** For all rounds of one kind; more by SQUIB_FUZZ_MS. */
const BUDGET_MS = Number(process.env['SQUIB_FUZZ_MS'] ?? 2_000);
/** A single image that takes longer hangs: a sound one takes some milliseconds. */
const ROUND_MS_MAX = 3_000;
const MEMORY_BYTES_MAX = 160 << 20;

const PROFILES = [
  ['-b', '4096', '-I', '256', '-O', '^has_journal,metadata_csum'],
  ['-b', '1024', '-I', '128', '-O', '^has_journal,^64bit,^metadata_csum'],
  ['-b', '4096', '-I', '1024', '-O', '^has_journal,inline_data,^metadata_csum'],
];

let dir: string;
const images: Buffer[] = [];

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'squib-fuzz-'));
  const upper = join(dir, 'tree/upper');
  mkdirSync(join(upper, 'a/b/c'), { recursive: true });
  for (let i = 0; i < 40; i++) writeFileSync(join(upper, 'a', `name-${i}`), 'x'.repeat(i * 7));
  writeFileSync(join(upper, 'a/b/big'), Buffer.alloc(40_000, 7));
  linkSync(join(upper, 'a/name-3'), join(upper, 'a/b/linked'));
  symlinkSync('../../../../etc', join(upper, 'a/b/up'));
  symlinkSync('y'.repeat(200), join(upper, 'long'));
  writeFileSync(join(upper, 'sparse'), 'x');
  truncateSync(join(upper, 'sparse'), 3 << 20);
  execFileSync('mknod', [join(upper, 'gone'), 'c', '0', '0']);
  // Extents at depth 1: every other block is a hole.
  const holes = openSync(join(upper, 'holes'), 'w');
  for (let i = 0; i < 12; i++) writeSync(holes, 'data', i * 16_384);
  closeSync(holes);
  const setXattrs = `
import os, sys
u = sys.argv[1]
os.setxattr(u + '/a', 'trusted.overlay.opaque', b'y')
os.setxattr(u + '/a/name-5', 'user.long', b'v' * 700)
os.setxattr(u + '/a/name-6', 'user.short', b'v')`;
  execFileSync('python3', ['-c', setXattrs, upper]);
  const image = join(dir, 'base.ext4');
  for (const options of PROFILES) {
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', ...options, '-d', join(dir, 'tree'), image, '2M'], {
      stdio: 'pipe',
    });
    images.push(readFileSync(image));
    rmSync(image);
  }
  const tar = join(dir, 'tree.tar');
  execFileSync('tar', ['-cf', tar, '-C', join(dir, 'tree'), '.']);
  await convertTar([{ path: tar }], image, { sync: false });
  images.push(readFileSync(image));
  rmSync(image);
  rmSync(tar);
});
after(() => rmSync(dir, { recursive: true }));

/** Small, seeded, and good enough for choosing bytes. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

type Mutate = (bytes: Buffer, pick: (below: number) => number, filled: readonly number[]) => Buffer;

const EDGES = [0, 1, 0x7f, 0x80, 0xff];

const MUTATIONS: Record<string, Mutate> = {
  /** Bytes, one to eight of them, where the image is not empty. */
  flip(bytes, pick, filled) {
    for (let n = 1 + pick(8); n > 0; n--) {
      const at = (filled[pick(filled.length)] as number) + pick(16);
      bytes[at] =
        pick(2) === 0 ? (EDGES[pick(EDGES.length)] as number) : (bytes[at] as number) ^ (1 << pick(8));
    }
    return bytes;
  },
  truncate: (bytes, pick) => bytes.subarray(0, pick(bytes.length)),
  /** A piece of the image over another one: structures in the wrong place, loops, shared blocks. */
  splice(bytes, pick, filled) {
    const unit = [4, 12, 16, 128, 256, 1024, 4096][pick(7)] as number;
    for (let n = 1 + pick(3); n > 0; n--) {
      const [from, to] = [filled, filled].map(
        (list) => Math.floor((list[pick(list.length)] as number) / unit) * unit,
      );
      bytes.copy(bytes, to as number, from as number, (from as number) + unit);
    }
    return bytes;
  },
};

/** Offsets of pieces of sixteen bytes that hold something; file content is not worth its share. */
function filledPieces(bytes: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at + 16 <= bytes.length; at += 16) {
    const piece = bytes.subarray(at, at + 16);
    if (piece.some((byte) => byte !== 0 && byte !== 7 && byte !== 0x78 && byte !== 0x76)) found.push(at);
  }
  return found;
}

function readAll(path: string): void {
  using reader = Ext4Reader.open(path);
  verifyTree(reader);
  let bytes = 0;
  exportTar(reader, { start: '', isLayer: false, write: (part) => (bytes += part.length) });
  exportTar(reader, { start: 'upper', isLayer: true, write: () => {} });
  assert.ok(bytes < 1 << 30, `a small image became a tar of ${bytes} bytes`);
}

/** @returns whether the image was taken for sound. */
async function attempt(work: () => void | Promise<void>, what: string): Promise<boolean> {
  const begun = performance.now();
  let isRead = true;
  try {
    await work();
  } catch (thrown) {
    assert.ok(thrown instanceof SquibError, `${what}: ${thrown instanceof Error ? thrown.stack : thrown}`);
    isRead = false;
  }
  const took = performance.now() - begun;
  assert.ok(took < ROUND_MS_MAX, `${what} took ${Math.round(took)} ms`);
  return isRead;
}

for (const [name, mutate] of Object.entries(MUTATIONS)) {
  test(`no image makes the reader hang, crash or grow: ${name}`, async (t) => {
    const pick = random(SEED);
    const filled = images.map(filledPieces);
    const path = join(dir, `${name}.ext4`);
    const fd = openSync(path, 'w');
    const before = process.memoryUsage().rss;
    const end = performance.now() + BUDGET_MS;
    let rounds = 0;
    let read = 0;
    for (; performance.now() < end; rounds++) {
      const which = rounds % images.length;
      const bytes = mutate(Buffer.from(images[which] as Buffer), pick, filled[which] as number[]);
      ftruncateSync(fd, bytes.length);
      writeSync(fd, bytes, 0, bytes.length, 0);
      if (await attempt(() => readAll(path), `seed ${SEED}, ${name}, round ${rounds}`)) read++;
    }
    closeSync(fd);
    const grown = process.memoryUsage().rss - before;
    assert.ok(grown < MEMORY_BYTES_MAX, `seed ${SEED}: ${grown} bytes more`);
    assert.ok(rounds > 20, `only ${rounds} rounds`);
    t.diagnostic(`seed ${SEED}: ${rounds} images, ${read} of them readable`);
  });
}

test('no image makes the filling of an upper directory write anywhere else', async (t) => {
  const pick = random(SEED + 1);
  const home = join(dir, 'snapshot');
  const upperDir = join(home, 'fs');
  mkdirSync(upperDir, { recursive: true });
  const path = join(dir, 'fill.ext4');
  const filled = images.map(filledPieces);
  const around = () => [readdirSync(dir).sort(), readdirSync('/etc').length, readdirSync(home)];
  writeFileSync(path, '');
  const before = around();
  const end = performance.now() + BUDGET_MS;
  let rounds = 0;
  let filledTimes = 0;
  for (; performance.now() < end; rounds++) {
    const which = rounds % images.length;
    const image = Buffer.from(images[which] as Buffer);
    const mutate = pick(2) === 0 ? MUTATIONS['flip'] : MUTATIONS['splice'];
    writeFileSync(path, (mutate as Mutate)(image, pick, filled[which] as number[]));
    const fill = async () => void (await fillUpper({ scratch: path, upperDir, bytesMax: 16 << 20 }));
    if (await attempt(fill, `seed ${SEED}, fill, round ${rounds}`)) filledTimes++;
    assert.deepEqual(around(), before, `seed ${SEED}, round ${rounds}`);
  }
  assert.ok(filledTimes > 0);
  t.diagnostic(`seed ${SEED}: ${rounds} images, ${filledTimes} filled`);
});
