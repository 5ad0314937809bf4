import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { convertTar, type TarConversion, type TarProgress } from '../../../src/image/tar/convert.ts';
import { archive } from './archive.ts';

const dir = mkdtempSync(join(tmpdir(), 'squib-tar-convert-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string) => join(dir, name);

function file(name: string, bytes: Uint8Array): { path: string } {
  writeFileSync(at(name), bytes);
  return { path: at(name) };
}

const options: TarConversion = { sync: false };
const big = Buffer.from(Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 9)) & 0xff));
const layer = archive(
  { name: './', type: '5', mode: 0o755 },
  { name: 'small', data: 'inline' },
  { name: 'big', data: big },
  { name: 'link', type: '1', link: 'big' },
  { name: 'd/sym', type: '2', link: '../small' },
);

const debugfs = (image: string, ...commands: string[]) =>
  commands.map((c) =>
    execFileSync('debugfs', ['-R', c, image], { stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 23 }),
  );

test('layers of every compression become one image that e2fsck has nothing against', async () => {
  const sources = [
    file('1.tar', layer),
    file('2.tar.gz', gzipSync(archive({ name: '.wh.small' }, { name: 'd/two', data: 'second' }))),
    file('3.tar.zst', zstdCompressSync(archive({ name: 'three', data: 'third' }))),
  ];
  const seen: TarProgress[] = [];
  const result = await convertTar(sources, at('out.ext4'), { ...options, progress: (p) => seen.push(p) });
  assert.equal(result.entries, 8);
  assert.deepEqual([...new Set(seen.map((p) => p.layer))], [0, 1, 2]);
  assert.equal(seen.at(-1)?.bytes, result.tarBytes);
  execFileSync('e2fsck', ['-fn', at('out.ext4')], { stdio: 'pipe' });
  const [listed, content, two, three] = debugfs(
    at('out.ext4'),
    'ls -p /',
    'cat /link',
    'cat /d/two',
    'cat /three',
  );
  assert.deepEqual(
    String(listed)
      .split('\n')
      .flatMap((line) => line.split('/')[5] || [])
      .sort(),
    ['.', '..', 'big', 'd', 'link', 'three'],
  );
  assert.ok(content !== undefined && big.equals(content));
  // debugfs shows all of i_block, whatever the size of what is in it.
  assert.equal(`${two} ${three}`.replaceAll('\0', ''), 'second third');
});

test('the same archives give the same bytes, another uuid does not', async () => {
  const source = file('same.tar', layer);
  const made = async (name: string, more: TarConversion = {}) => {
    await convertTar([source], at(name), { ...options, ...more });
    return readFileSync(at(name));
  };
  const first = await made('first');
  assert.ok(first.equals(await made('again')));
  assert.ok(!first.equals(await made('other', { uuid: new Uint8Array(16).fill(5) })));
});

test('an error leaves what was there, and nothing else', async () => {
  const target = at('kept.ext4');
  writeFileSync(target, 'what was there');
  const before = readdirSync(dir);
  const good = file('good.tar', layer);
  const cases: [string, Uint8Array | undefined, string][] = [
    ['cut', layer.subarray(0, 2000), 'data-loss'],
    ['cut.gz', gzipSync(layer).subarray(0, 3000), 'data-loss'],
    ['damaged', Buffer.concat([layer.subarray(0, 512), Buffer.alloc(512, 0x31)]), 'data-loss'],
    ['escape', archive({ name: '../x' }), 'invalid-argument'],
    ['nowhere', archive({ name: 'l', type: '1', link: 'nowhere' }), 'not-found'],
    ['missing', undefined, 'not-found'],
    ['xz', Buffer.from('fd377a585a000000', 'hex'), 'unimplemented'],
    ['attribute', archive({ pax: { 'SCHILY.xattr.user.large': 'x'.repeat(70_000) } }), 'invalid-argument'],
  ];
  for (const [name, bytes, code] of cases) {
    const bad = bytes === undefined ? { path: at(name) } : file(name, bytes);
    await assert.rejects(convertTar([good, bad], target, options), (error: Error & { code: string }) => {
      assert.ok(error.message.startsWith(`${bad.path}: `), error.message);
      assert.equal(error.code, code, error.message);
      return true;
    });
    rmSync(bad.path, { force: true });
  }
  rmSync(good.path);
  assert.deepEqual(readdirSync(dir), before);
  assert.equal(readFileSync(target, 'utf8'), 'what was there');
  const nowhere = join(dir, 'no', 'such', 'dir.ext4');
  await assert.rejects(convertTar([], nowhere, options), {
    code: 'not-found',
    message: /dir\.ext4: the image cannot/,
  });
});

test('a full disk half way: a name, a code, nothing left', async (t) => {
  const small = at('small-disk');
  try {
    execFileSync('mkdir', [small]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'squib-test', small], { stdio: 'pipe' });
  } catch (error) {
    t.skip(`cannot mount a tmpfs here: ${(error as Error).message.split('\n')[0]}`);
    return;
  }
  try {
    const source = file('full.tar', layer);
    await assert.rejects(
      convertTar([source], join(small, 'out.ext4'), options),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'resource-exhausted');
        assert.match(error.message, /full\.tar: tar entry "big" at byte 1536|the image cannot be written/);
        return true;
      },
    );
    assert.deepEqual(readdirSync(small), []);
  } finally {
    execFileSync('umount', [small]);
  }
});

test('an empty list of layers is an empty root', async () => {
  await convertTar([], at('empty.ext4'), options);
  assert.ok(existsSync(at('empty.ext4')));
  execFileSync('e2fsck', ['-fn', at('empty.ext4')], { stdio: 'pipe' });
});
