import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Step, walk } from '../../../src/image/ext4/read/walk.ts';
import { Ext4Reader } from '../../../src/image/ext4/reader.ts';
import { makeSampleTree, mke2fs, pattern } from './sample-tree.ts';

let dir: string;
const PROFILES = {
  '256-byte inodes': ['-b', '4096', '-I', '256', '-O', '^has_journal'],
  'as mke2fs has it, with a journal': [],
  '1 KiB blocks, 128-byte inodes, 32-bit': ['-b', '1024', '-I', '128', '-O', '^64bit'],
  'inline data, no checksums': ['-b', '4096', '-I', '1024', '-O', 'inline_data,^metadata_csum'],
};

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-reader-'));
  mkdirSync(join(dir, 'tree'));
  makeSampleTree(join(dir, 'tree'));
});
after(() => rmSync(dir, { recursive: true }));

function contentOf(reader: Ext4Reader, path: string): Buffer {
  const inode = reader.resolve(path, true);
  const bytes = Buffer.alloc(inode.size);
  for (const piece of reader.content(inode)) bytes.set(piece.bytes, piece.position);
  return bytes;
}

test('what is no image, is cut or uses unknown features is named as such', () => {
  const path = join(dir, 'not-an-image');
  assert.throws(() => Ext4Reader.open(path), { code: 'not-found' });
  assert.throws(() => Ext4Reader.open(dir), { code: 'invalid-argument' });
  writeFileSync(path, 'short');
  assert.throws(() => Ext4Reader.open(path), { code: 'data-loss', message: /has 5 bytes/ });
  const bytes = Buffer.alloc(1 << 20);
  writeFileSync(path, bytes);
  assert.throws(() => Ext4Reader.open(path), { code: 'data-loss', message: /magic 0x0/ });
  bytes.writeUInt16LE(0xef53, 1024 + 0x38);
  bytes.writeUInt32LE(1, 1024 + 0x4c);
  bytes.writeUInt32LE(0x10042, 1024 + 0x60);
  writeFileSync(path, bytes);
  assert.throws(() => Ext4Reader.open(path), { code: 'unimplemented', message: /encrypt/ });
  bytes.writeUInt32LE(0x46, 1024 + 0x60);
  writeFileSync(path, bytes);
  assert.throws(() => Ext4Reader.open(path), { code: 'failed-precondition', message: /journal/ });
});

for (const [name, options] of Object.entries(PROFILES)) {
  test(`reads all of an image by mke2fs: ${name}`, () => {
    const image = join(dir, 'image.ext4');
    mke2fs(join(dir, 'tree'), image, ...options);
    using reader = Ext4Reader.open(image);
    const steps = new Map<string, Step>();
    for (const step of walk(reader, reader.root)) if (step.kind === 'entry') steps.set(step.path, step);
    assert.equal([...steps.keys()].filter((path) => path.startsWith('many/')).length, 700);
    const names = [...steps.keys()].filter((path) => !path.startsWith('many/'));
    assert.deepEqual(names.sort(), [
      '',
      'big',
      'etc',
      'etc/deep',
      'etc/deep/er',
      'etc/deep/gone-too',
      'etc/linked',
      'etc/motd',
      'etc/raw-\xff\n\xc3',
      'gone',
      'long-link',
      'lost+found',
      'many',
      'old',
      'opaque',
      'opaque/link',
      'opaque/new',
      'pipe',
      'sparse',
    ]);
    const linked = [steps.get('etc/motd'), steps.get('etc/linked')];
    assert.deepEqual(linked.map((step) => step?.linkTo !== undefined).sort(), [false, true]);
    assert.deepEqual(contentOf(reader, 'big'), Buffer.from(pattern(3_000_000)));
    assert.equal(contentOf(reader, 'opaque/link').toString(), 'hello\n');
    assert.equal(contentOf(reader, 'many/file-with-a-longer-name-699').toString(), '699');
    assert.equal(reader.target(reader.resolve('long-link')), 'x'.repeat(300));
    const gone = reader.resolve('gone');
    assert.deepEqual([gone.type, gone.rdevMajor, gone.rdevMinor], ['character', 0, 0]);
    const motd = reader.resolve('etc/motd');
    assert.equal(motd.mtimeSeconds, 1_700_000_000);
    const xattrs = reader.xattrs(motd);
    assert.deepEqual(xattrs.get('user.note'), new Uint8Array([118, 0, 255]));
    // In the form of getxattr: version, then entries of eight bytes.
    assert.equal(Buffer.from(xattrs.get('system.posix_acl_access') ?? []).toString('hex'), ACL_HEX);
    assert.deepEqual([...reader.xattrs(reader.resolve('opaque')).keys()].sort(), [
      'trusted.overlay.impure',
      'trusted.overlay.opaque',
    ]);
    assert.ok(reader.geometry.isClean);
    assert.throws(() => reader.resolve('etc/none'), { code: 'not-found' });
  });
}

const ACL_HEX =
  '02000000' +
  '01000600ffffffff' +
  '0200040070110100' +
  '04000400ffffffff' +
  '10000400ffffffff' +
  '20000000ffffffff';
