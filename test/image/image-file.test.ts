import assert from 'node:assert/strict';
import { closeSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chainKey } from '../../src/image/chain-key.ts';
import { createExt4Image } from '../../src/image/ext4/image.ts';
import { openImage } from '../../src/image/image-file.ts';

const UUID = '00112233445566778899aabbccddeeff';
let dir: string;
let image: string;
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-image-file-'));
  image = join(dir, 'image');
  createExt4Image(image, { uuid: Buffer.from(UUID, 'hex') }).finish();
});
after(() => rmSync(dir, { recursive: true }));

function opens(path: string, uuid = UUID): boolean {
  const fd = openImage(path, uuid);
  if (fd !== undefined) closeSync(fd);
  return fd !== undefined;
}

test('whatever is not the whole image of these layers is none', () => {
  const copy = join(dir, 'copy');
  const bytes = readFileSync(image);
  const refused: Record<string, Uint8Array> = {
    empty: new Uint8Array(),
    'of one block': bytes.subarray(0, 1024),
    'cut in the superblock': bytes.subarray(0, 1500),
    'cut by a byte': bytes.subarray(0, -1),
    'longer by a byte': Buffer.concat([bytes, Buffer.alloc(1)]),
    zeroes: new Uint8Array(bytes.length),
  };
  for (const [what, content] of Object.entries(refused)) {
    writeFileSync(copy, content);
    assert.ok(!opens(copy), what);
  }
  for (const at of [0x404, 0x418, 0x438, 0x468, 0x477]) {
    const changed = Buffer.from(bytes);
    changed.writeUInt8((bytes[at] as number) ^ 1, 1024 + at - 0x400);
    writeFileSync(copy, changed);
    assert.ok(!opens(copy), `a bit of byte ${at - 0x400} of the superblock`);
  }
  assert.ok(!opens(image, 'f'.repeat(32)), 'other layers');
  assert.ok(!opens(join(dir, 'missing')));
  assert.throws(() => openImage(join(image, 'below'), UUID), { code: 'ENOTDIR' });
  assert.ok(opens(image));
});

test("a chain's key is that of its paths and of the top-most directory itself", () => {
  const [a, b] = ['a', 'b'].map((name) => join(dir, name)) as [string, string];
  mkdirSync(a);
  mkdirSync(b);
  const key = chainKey([a, b]);
  assert.match(key, /^[0-9a-f]{32}$/);
  assert.equal(chainKey([a, b]), key);
  writeFileSync(join(a, 'file'), 'the time of a change is not that of birth');
  assert.equal(chainKey([a, b]), key);
  for (const other of [[a], [b, a], [a, b, b]]) assert.notEqual(chainKey(other), key);
  rmSync(a, { recursive: true });
  assert.throws(() => chainKey([a, b]), { code: 'ENOENT' });
  mkdirSync(a);
  assert.notEqual(chainKey([a, b]), key, 'made anew');
});
