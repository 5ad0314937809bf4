import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { TarScanner } from '../../../src/image/tar/scanner.ts';
import { compressionOf, scanSource } from '../../../src/image/tar/source.ts';
import { archive } from './archive.ts';
import { Collector } from './collector.ts';

const dir = mkdtempSync(join(tmpdir(), 'squib-tar-'));
after(() => rmSync(dir, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
}

async function scanned(path: string): Promise<string> {
  const collector = new Collector();
  const compression = await scanSource({ path }, new TarScanner(collector));
  return [compression, ...collector.entries.map((e) => `${e.path}:${e.size}`)].join(' ');
}

/** More than one chunk. */
const SIZE = 2_500_000;
/** Noise, so that the compressed form has a middle to be cut in. */
const noise = Buffer.alloc(SIZE).map((_, i) => (i * i * 31 + (i >> 3)) & 0xff);
const bytes = archive({ name: 'a', data: noise }, { name: 'b', data: 'x' });
const summed = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };
const FORMS = { none: bytes, gzip: gzipSync(bytes), zstd: zstdCompressSync(bytes, summed) };

test('plain, gzip and zstd, told by their first bytes', async () => {
  for (const [name, form] of Object.entries(FORMS))
    assert.equal(await scanned(file(name, form)), `${name} a:${SIZE} b:1`);
});

test('gzip members and zstd frames one after the other', async () => {
  const half = 1_000_000;
  const both = (pack: (b: Uint8Array) => Buffer) =>
    Buffer.concat([pack(bytes.subarray(0, half)), pack(bytes.subarray(half))]);
  assert.equal(
    await scanned(
      file(
        'members',
        both((b) => gzipSync(b)),
      ),
    ),
    `gzip a:${SIZE} b:1`,
  );
  assert.equal(
    await scanned(
      file(
        'frames',
        both((b) => zstdCompressSync(b)),
      ),
    ),
    `zstd a:${SIZE} b:1`,
  );
  const skippable = Buffer.concat([Buffer.from('5a2a4d1803000000aabbcc', 'hex'), FORMS.zstd]);
  assert.equal(await scanned(file('skippable', skippable)), `zstd a:${SIZE} b:1`);
});

test('other compressions are refused by name', () => {
  for (const [head, name] of [
    ['425a6839', 'bzip2'],
    ['fd377a585a00', 'xz'],
    ['504b0304', 'zip'],
  ] as const)
    assert.throws(() => compressionOf(Buffer.from(head, 'hex')), {
      code: 'unimplemented',
      message: new RegExp(name),
    });
  assert.equal(compressionOf(Buffer.alloc(0)), 'none');
});

test('a compressed layer that is cut or damaged: the entry, the offset, the reason', async () => {
  for (const name of ['gzip', 'zstd'] as const) {
    const form = FORMS[name];
    for (const cut of [7, 20, form.length >> 1, form.length - 9, form.length - 1]) {
      const path = file(`cut-${name}`, form.subarray(0, cut));
      await assert.rejects(scanned(path), (error: Error & { code: string }) => {
        assert.equal(error.code, 'data-loss', `${name} cut at ${cut}: ${error}`);
        assert.match(
          error.message,
          /cut-\w+: tar entry( "a"| "b")? at byte \d+: (compressed data are damaged or cut off: |input ends)/,
        );
        return true;
      });
    }
    const damaged = Buffer.from(form);
    damaged.fill(0xa5, form.length >> 1, (form.length >> 1) + 8);
    await assert.rejects(scanned(file('damaged', damaged)), {
      code: 'data-loss',
      message: /damaged: tar entry( "a")? at byte 0: compressed data/,
    });
  }
});

test('compressed data of which nobody could know the end stop at the limit of memory', async () => {
  // A frame header that asks for a window of 2 GiB.
  const greedy = Buffer.concat([Buffer.from('28b52ffd00a8', 'hex'), Buffer.alloc(64)]);
  await assert.rejects(scanned(file('greedy', greedy)), {
    code: 'data-loss',
    message: /greedy: .*compressed data/,
  });
});

test('sources that are not there, or no files', async () => {
  await assert.rejects(scanned(join(dir, 'missing')), {
    code: 'not-found',
    message: /missing: cannot be opened/,
  });
  await assert.rejects(scanned(dir), {
    code: 'invalid-argument',
    message: /is a directory, not a tar archive/,
  });
  await assert.rejects(scanned(file('empty', Buffer.alloc(0))), {
    code: 'data-loss',
    message: /empty: .*input is empty/,
  });
});

test('a descriptor, by a pipe that delivers in drops', async () => {
  const path = file('fed', bytes);
  for (const [form, source] of Object.entries(FORMS)) {
    const fifo = join(dir, `fifo-${form}`);
    await new Promise((done) => spawn('mkfifo', [fifo]).on('exit', done));
    writeFileSync(path, source);
    const feeder = spawn('sh', ['-c', `{ head -c 3; sleep 0.05; cat; } < "${path}" > "${fifo}"`]);
    const fd = openSync(fifo, 'r');
    const collector = new Collector();
    assert.equal(await scanSource({ fd, name: 'standard input' }, new TarScanner(collector)), form);
    assert.equal(collector.entries.length, 2);
    closeSync(fd);
    await new Promise((done) => (feeder.exitCode === null ? feeder.on('exit', done) : done(undefined)));
  }
});
