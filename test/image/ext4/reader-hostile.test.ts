import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { SquibError } from '../../../src/base/errors.ts';
import { encodeDirent } from '../../../src/image/ext4/dirent.ts';
import { encodeExtent, encodeExtentHeader, encodeExtentIndex } from '../../../src/image/ext4/extent.ts';
import { readGeometry } from '../../../src/image/ext4/read/geometry.ts';
import { ImageFile } from '../../../src/image/ext4/read/image-file.ts';
import { type Inode, inodePosition } from '../../../src/image/ext4/read/inode.ts';
import { walk } from '../../../src/image/ext4/read/walk.ts';
import { Ext4Reader } from '../../../src/image/ext4/reader.ts';

const BLOCK = 4096;
let dir: string;
let path: string;
let original: Buffer;
let bytes: Buffer;

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-hostile-'));
  path = join(dir, 'image.ext4');
  const tree = join(dir, 'tree');
  mkdirSync(join(tree, 'dir/sub'), { recursive: true });
  writeFileSync(join(tree, 'file'), Buffer.alloc(3 * BLOCK, 'x'));
  writeFileSync(join(tree, 'dir/other'), Buffer.alloc(BLOCK, 'y'));
  linkSync(join(tree, 'file'), join(tree, 'dir/linked'));
  symlinkSync('z'.repeat(100), join(tree, 'symlink'));
  symlinkSync('loop', join(tree, 'loop'));
  const options = ['-b', `${BLOCK}`, '-I', '256', '-O', '^has_journal,^metadata_csum,^dir_index'];
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', ...options, '-d', tree, path, '8M'], { stdio: 'pipe' });
  original = readFileSync(path);
});
after(() => rmSync(dir, { recursive: true }));
beforeEach(() => {
  bytes = Buffer.from(original);
});

/** Where things are in the sound image. */
function find(name: string): { inode: Inode; at: number; block: number } {
  writeFileSync(path, original);
  using reader = Ext4Reader.open(path);
  const inode = reader.resolve(name);
  const image = ImageFile.open(path);
  const at = inodePosition(image, readGeometry(image), inode.number);
  image.close();
  const [run] = [...reader.runs(inode)];
  return { inode, at, block: (run?.offset ?? 0) / BLOCK };
}

/** Reads everything of the image as it is in `bytes` now. */
function readAll(): number {
  writeFileSync(path, bytes);
  using reader = Ext4Reader.open(path);
  let total = 0;
  for (const { kind, inode } of walk(reader, reader.root)) {
    if (kind === 'leave') continue;
    reader.xattrs(inode);
    if (inode.type === 'symlink') reader.target(inode);
    if (inode.type === 'file') for (const piece of reader.content(inode)) total += piece.bytes.length;
  }
  return total;
}

function refuses(code: SquibError['code'], message: RegExp): void {
  const begun = performance.now();
  assert.throws(readAll, { name: 'SquibError', code, message });
  assert.ok(performance.now() - begun < 2000);
}

/** i_block of an inode becomes the root of an extent tree. */
const extentRoot = (at: number) => bytes.subarray(at + 40, at + 100);

test('each number of the superblock that is out of range is named', () => {
  for (const [at, width, value, message] of [
    [0x00, 4, 0xffff_ffff, /s_inodes_count is 4294967295/],
    [0x04, 4, 3_000_000_000, /s_blocks_count is 3000000000; expected 8 to 2048/],
    [0x14, 4, 7, /first data block 7/],
    [0x18, 4, 31, /s_log_block_size is 31/],
    [0x20, 4, 0, /s_blocks_per_group is 0/],
    [0x28, 4, 1 << 20, /s_inodes_per_group/],
    [0x58, 2, 200, /s_inode_size is 200; expected a power of two/],
    [0xfe, 2, 8, /s_desc_size is 8/],
  ] as const) {
    bytes = Buffer.from(original);
    bytes.writeUIntLE(value, 1024 + at, width);
    refuses('data-loss', message);
  }
});

test('an inode table or an inode outside of the image', () => {
  bytes.writeUInt32LE(0xffff_fff0, BLOCK + 8);
  refuses('data-loss', /group 0: inode table at block 4294967280/);
  bytes = Buffer.from(original);
  const { block } = find('dir');
  bytes.writeUInt32LE(999_999, block * BLOCK + 24);
  refuses('data-loss', /"dir\/[a-z]+": inode number 999999; expected 1 to/);
  bytes.writeUInt32LE(8, block * BLOCK + 24);
  refuses('data-loss', /inode 8 is reserved/);
});

test('a directory that contains itself or its parent, and one that is in two', () => {
  const { inode, block } = find('dir');
  for (const number of [inode.number, 2]) {
    bytes = Buffer.from(original);
    bytes.writeUInt32LE(number, block * BLOCK + 24);
    refuses('data-loss', number === 2 ? /is directory 2, which came before/ : /which came before/);
  }
  bytes = Buffer.from(original);
  const sub = find('dir/sub').inode.number;
  const root = original.indexOf('file', find('').block * BLOCK);
  bytes.writeUInt32LE(sub, root - 8);
  refuses('data-loss', /which came before/);
});

test('names with a slash, a zero byte, dots alone or nothing', () => {
  const at = original.indexOf('other', find('dir').block * BLOCK);
  for (const name of ['o/her', 'ot\0er', '..', '.', '']) {
    bytes = Buffer.from(original);
    bytes[at - 2] = name.length;
    bytes.write(name, at);
    refuses('data-loss', /is not a file name/);
  }
});

test('entries that leave their block, overlap, or never advance', () => {
  const at = original.indexOf('other', find('dir').block * BLOCK) - 8;
  for (const length of [0, 4, 7, 10, 12, 4096, 65_535]) {
    bytes = Buffer.from(original);
    bytes.writeUInt16LE(length, at + 4);
    refuses('data-loss', /directory \d+: directory entry at \d+ of length/);
  }
});

test('an extent tree that points at itself, goes too deep or out of the image', () => {
  const { at, block } = find('file');
  const node = bytes.subarray(block * BLOCK, (block + 1) * BLOCK);
  const header = { entries: 1, max: 4 };
  encodeExtentHeader({ ...header, depth: 5 }, extentRoot(at));
  encodeExtentIndex({ logical: 0, physical: block }, extentRoot(at), 0);
  encodeExtentHeader({ ...header, depth: 5 }, node);
  encodeExtentIndex({ logical: 0, physical: block }, node, 0);
  refuses('data-loss', /extent node of depth 5, expected 4/);
  encodeExtentHeader({ ...header, depth: 6 }, extentRoot(at));
  refuses('data-loss', /depth 6, expected at most 5/);
  encodeExtentHeader({ depth: 0, entries: 5, max: 4 }, extentRoot(at));
  refuses('data-loss', /extent node of 5 entries with room for 4/);
  encodeExtentHeader({ ...header, depth: 0 }, extentRoot(at));
  for (const physical of [0, 2046, 2 ** 40]) {
    encodeExtent({ logical: 0, physical, blocks: 3 }, extentRoot(at), 0);
    refuses('data-loss', /blocks \d+\+3; the image has 2048/);
  }
  encodeExtent({ logical: 0, physical: block, blocks: 0 }, extentRoot(at), 0);
  refuses('data-loss', /is empty/);
});

test('extents that overlap or run backwards', () => {
  const { at, block } = find('file');
  encodeExtentHeader({ depth: 0, entries: 2, max: 4 }, extentRoot(at));
  encodeExtent({ logical: 1, physical: block, blocks: 2 }, extentRoot(at), 0);
  encodeExtent({ logical: 2, physical: block, blocks: 1 }, extentRoot(at), 1);
  refuses('data-loss', /extent 2\+1 is not in order after 3/);
});

/** A tree of depth two whose 340 × 340 leaves are one block, claiming 340 extents each. */
test('a small image cannot claim more data than it has', () => {
  const { at, block } = find('file');
  const inner = bytes.subarray(block * BLOCK, (block + 1) * BLOCK);
  const leaf = bytes.subarray((block + 1) * BLOCK, (block + 2) * BLOCK);
  encodeExtentHeader({ depth: 2, entries: 1, max: 4 }, extentRoot(at));
  encodeExtentIndex({ logical: 0, physical: block }, extentRoot(at), 0);
  encodeExtentHeader({ depth: 1, entries: 340, max: 340 }, inner);
  for (let i = 0; i < 340; i++) encodeExtentIndex({ logical: i, physical: block + 1 }, inner, i);
  // Empty leaves come in order, however often they come.
  encodeExtentHeader({ depth: 0, entries: 0, max: 340 }, leaf);
  bytes.writeUInt32LE(0xffff_ffff, at + 4);
  assert.equal(readAll(), BLOCK);
  // One large extent is as good as the blocks that it names.
  encodeExtentHeader({ depth: 0, entries: 1, max: 4 }, extentRoot(at));
  encodeExtent({ logical: 0, physical: 100, blocks: 1900 }, extentRoot(at), 0);
  // The same inode under many names of its own: each of 200 copies claims the image again.
  const table = find('').block;
  const entries = Buffer.alloc(BLOCK);
  for (let i = 0, offset = 0; i < 200; i++) {
    const length = i === 199 ? BLOCK - offset : 20;
    const name = Buffer.from(`copy${String(i).padStart(4, '0')}`);
    encodeDirent({ inode: find('file').inode.number, length, type: 1, name }, entries, offset);
    offset += 20;
  }
  bytes.set(entries, table * BLOCK);
  bytes.writeUInt16LE(1, at + 26);
  refuses('resource-exhausted', /more than \d+ blocks to look at/);
});

test('symlinks of impossible length, and loops of them', () => {
  const { at } = find('symlink');
  for (const size of [0, 5000, 4096]) {
    bytes = Buffer.from(original);
    bytes.writeUInt32LE(size, at + 4);
    refuses('data-loss', new RegExp(`target of ${size} bytes`));
  }
  writeFileSync(path, original);
  using reader = Ext4Reader.open(path);
  assert.throws(() => reader.resolve('loop', true), {
    code: 'failed-precondition',
    message: /too many symlinks/,
  });
});

test('inodes of no type, with no links, or with fields beyond their end', () => {
  const { at } = find('file');
  for (const [offset, value, message] of [
    [0, 0o070644, /mode 070644 has no known file type/],
    [26, 0, /has no links/],
    [128, 200, /i_extra_isize is 200/],
    [128, 6, /i_extra_isize is 6/],
  ] as const) {
    bytes = Buffer.from(original);
    bytes.writeUInt16LE(value, at + offset);
    refuses('data-loss', message);
  }
  bytes = Buffer.from(original);
  bytes.writeUInt32LE(0xffff_ffff, at + 0x88);
  refuses('data-loss', /nanoseconds/);
  bytes = Buffer.from(original);
  bytes.writeUInt32LE(0x8_0000 | 0x800, at + 32);
  refuses('data-loss', /encrypted/);
});

test('attributes that leave their area, and attribute blocks outside of the image', () => {
  const { at } = find('file');
  const area = at + 128 + bytes.readUInt16LE(at + 128);
  bytes.writeUInt32LE(0xea02_0000, area);
  bytes.set([4, 1, 0, 0], area + 4);
  bytes.writeUInt32LE(0xffff_ffff, area + 12);
  refuses('data-loss', /inode \d+: attribute entry at 0/);
  bytes.writeUInt32LE(0, area + 12);
  bytes[area + 5] = 99;
  refuses('data-loss', /unknown prefix 99/);
  bytes = Buffer.from(original);
  bytes.writeUInt32LE(77_777, at + 104);
  refuses('data-loss', /attribute block 77777; the image has 2048/);
  bytes.writeUInt32LE(find('file').block, at + 104);
  refuses('data-loss', /attribute block with magic/);
});

test('directories nest no deeper than what paths can name', () => {
  const options = ['-b', '1024', '-O', '^has_journal'];
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', ...options, path, '8M'], { stdio: 'pipe' });
  const commands = Array.from({ length: 1100 }, () => 'mkdir d\ncd d').join('\n');
  execFileSync('debugfs', ['-w', '-f', '-', path], { input: commands, stdio: ['pipe', 'ignore', 'ignore'] });
  bytes = readFileSync(path);
  refuses('resource-exhausted', /nest deeper than 1024/);
});
