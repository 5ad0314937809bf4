import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc16 } from '../../../src/image/ext4/crc16.ts';
import { decodeDirent, direntBytes, direntType, encodeDirent } from '../../../src/image/ext4/dirent.ts';
import {
  decodeExtent,
  decodeExtentHeader,
  decodeExtentIndex,
  encodeExtent,
  encodeExtentHeader,
  encodeExtentIndex,
} from '../../../src/image/ext4/extent.ts';
import { decodeGroup, encodeGroup, groupChecksum } from '../../../src/image/ext4/group.ts';
import { decodeDevice, decodeInode, encodeDevice, encodeInode } from '../../../src/image/ext4/inode.ts';
import { aclFromDisk, aclToDisk } from '../../../src/image/ext4/posix-acl.ts';
import { decodeSuperblock, encodeSuperblock, type Superblock } from '../../../src/image/ext4/superblock.ts';

/** deepEqual tells null prototypes apart. */
const PLAIN = { noNullPrototype: true } as const;
const u32 = fc.nat(0xffff_ffff);
const u16 = fc.nat(0xffff);
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const time = fc.record(
  {
    seconds: fc.integer({ min: -(2 ** 31), max: 2 ** 34 - 2 ** 31 - 1 }),
    nanos: fc.nat(999_999_999),
  },
  PLAIN,
);

test('a superblock needs its 1024 bytes, and comes back as it was', () => {
  assert.throws(() => decodeSuperblock(new Uint8Array(1023)), { code: 'data-loss' });
  const arbitrary = fc.record<Superblock>(
    {
      inodesCount: u32,
      blocksCount: u32,
      freeBlocks: u32,
      freeInodes: u32,
      firstDataBlock: u32,
      logBlockSize: u32,
      blocksPerGroup: u32,
      inodesPerGroup: u32,
      magic: u16,
      state: u16,
      revision: u32,
      firstInode: u32,
      inodeBytes: u16,
      compat: u32,
      incompat: u32.map((v) => (v & ~0x80) >>> 0),
      roCompat: u32,
      uuid: bytes(16),
      hashSeed: bytes(16),
      hashVersion: fc.nat(255),
      descriptorBytes: fc.constant(32),
      flags: u32,
      logGroupsPerFlex: fc.nat(255),
      reservedGdtBlocks: u16,
      journalInode: u32,
      lastOrphan: u32,
      firstMetaBg: u32,
    },
    PLAIN,
  );
  fc.assert(fc.property(arbitrary, (sb) => assert.deepEqual(decodeSuperblock(encodeSuperblock(sb)), sb)));
});

test('a group descriptor, and the upper halves of a wide one', () => {
  const group = fc.record(
    {
      blockBitmap: u32,
      inodeBitmap: u32,
      inodeTable: u32,
      freeBlocks: u16,
      freeInodes: u16,
      directories: u16,
      flags: u16,
      unusedInodes: u16,
    },
    PLAIN,
  );
  fc.assert(fc.property(group, (g) => assert.deepEqual(decodeGroup(encodeGroup(g)), g)));
  const wide = new Uint8Array(64);
  wide[0] = 5;
  wide[0x20] = 7;
  wide[0x2c] = 1;
  assert.equal(decodeGroup(wide).blockBitmap, 7 * 2 ** 32 + 5);
  assert.equal(decodeGroup(wide).freeBlocks, 65_536);
});

test('the CRC of the kernel, and of a descriptor that mke2fs wrote', () => {
  assert.equal(crc16(0, Buffer.from('123456789')), 0xbb3d);
  const descriptor = new Uint8Array(32);
  const uuid = new Uint8Array(16).fill(1);
  assert.notEqual(groupChecksum(uuid, 0, descriptor), groupChecksum(uuid, 1, descriptor));
  descriptor[31] = 9;
  assert.equal(
    groupChecksum(uuid, 0, descriptor),
    groupChecksum(uuid, 0, new Uint8Array(32)),
    'without itself',
  );
});

test('an inode needs 128 bytes, and comes back as it was; without extra fields times are short', () => {
  assert.throws(() => decodeInode(new Uint8Array(127)), { code: 'data-loss' });
  const inode = fc.record(
    {
      mode: u16,
      uid: u32,
      gid: u32,
      size: fc.nat(2 ** 44),
      links: u16,
      sectors: fc.nat(2 ** 48 - 1),
      flags: u32,
      block: bytes(60),
      xattrBlock: fc.nat(2 ** 48 - 1),
      atime: time,
      ctime: time,
      mtime: time,
      crtime: time,
      extraBytes: fc.constant(32),
    },
    PLAIN,
  );
  fc.assert(
    fc.property(inode, (value) => {
      const whole = new Uint8Array(256);
      encodeInode(value, new DataView(whole.buffer, 64), 32);
      assert.deepEqual(decodeInode(whole.subarray(96)), value);
      const short = decodeInode(whole.subarray(96, 96 + 128));
      assert.deepEqual(short.mtime, { seconds: value.mtime.seconds | 0, nanos: 0 });
    }),
  );
  const device = fc.tuple(fc.nat(0xfff), fc.nat(0xf_ffff));
  fc.assert(
    fc.property(device, ([major, minor]) =>
      assert.deepEqual(decodeDevice(encodeDevice(major, minor)), { major, minor }),
    ),
  );
});

test('extent nodes with a wrong magic or more entries than room are refused', () => {
  const node = new Uint8Array(60);
  assert.throws(() => decodeExtentHeader(node), { code: 'data-loss' });
  assert.throws(() => decodeExtentHeader(node.subarray(0, 5)), { code: 'data-loss' });
  for (const [entries, max] of [
    [5, 4],
    [5, 5],
    [0, 5],
    [0xffff, 0xffff],
  ] as const) {
    encodeExtentHeader({ depth: 0, entries, max }, node);
    assert.throws(() => decodeExtentHeader(node), { code: 'data-loss' }, `${entries} of ${max}`);
  }
  encodeExtentHeader({ depth: 3, entries: 4, max: 4 }, node);
  assert.deepEqual(decodeExtentHeader(node), { depth: 3, entries: 4, max: 4 });
  const physical = 0xabc * 2 ** 32 + 0xdead_beef;
  for (const extent of [
    { logical: 0xffff_fffe, physical, blocks: 32_768, unwritten: false },
    { logical: 0, physical: 1, blocks: 32_767, unwritten: true },
    { logical: 7, physical: 0, blocks: 1, unwritten: true },
  ]) {
    encodeExtent(extent, node, 3);
    assert.deepEqual(decodeExtent(node, 3), extent);
  }
  encodeExtentIndex({ logical: 9, physical }, node, 1);
  assert.deepEqual(decodeExtentIndex(node, 1), { logical: 9, physical });
});

test('directory entries that do not fit their space are refused', () => {
  const block = new Uint8Array(64);
  const name = Buffer.from('name\xff', 'latin1');
  encodeDirent({ inode: 12, length: 64, type: 1, name }, block, 0);
  assert.deepEqual(
    { ...decodeDirent(block, 0), name: Buffer.from(decodeDirent(block, 0).name) },
    { inode: 12, length: 64, type: 1, name },
  );
  const broken: [at: number, value: number][] = [
    [4, 0],
    [4, 8],
    [4, 63],
    [4, 68],
    [5, 1],
    [6, 57],
    [6, 255],
  ];
  for (const [at, value] of broken) {
    const bad = block.slice();
    bad[at] = value;
    assert.throws(() => decodeDirent(bad, 0), { code: 'data-loss' }, `byte ${at} = ${value}`);
  }
  assert.throws(() => decodeDirent(block, 60), { code: 'data-loss' });
  assert.throws(() => decodeDirent(block, 64), { code: 'data-loss' });
  assert.equal(direntBytes(255), 264);
  assert.deepEqual(
    [0o100644, 0o40755, 0o120777, 0o60600, 0o20600, 0o10600, 0o140600, 0].map(direntType),
    [1, 2, 7, 4, 3, 5, 6, 0],
  );
});

test('ACLs that are none are refused, both ways; others change their form and back', () => {
  const api = (...entries: [number, number, number][]) => {
    const acl = Buffer.alloc(4 + entries.length * 8);
    acl.writeUInt32LE(2);
    entries.forEach(([tag, perm, id], i) => {
      acl.writeUInt16LE(tag, 4 + 8 * i);
      acl.writeUInt16LE(perm, 6 + 8 * i);
      acl.writeUInt32LE(id, 8 + 8 * i);
    });
    return acl;
  };
  const whole = api(
    [1, 7, 0xffff_ffff],
    [2, 5, 70_000],
    [4, 1, 0xffff_ffff],
    [8, 0, 1],
    [16, 7, 0xffff_ffff],
    [32, 4, 0xffff_ffff],
  );
  const disk = aclToDisk(whole);
  assert.equal(disk.length, 4 + 4 * 4 + 2 * 8);
  assert.deepEqual(Buffer.from(aclFromDisk(disk)), whole);
  for (let length = 0; length < whole.length; length++)
    if (length % 8 !== 4)
      assert.throws(() => aclToDisk(whole.subarray(0, length)), { code: 'invalid-argument' });
  for (let length = 1; length < disk.length; length++) {
    if ([4, 8, 16, 20, 28, 32].includes(length)) continue;
    assert.throws(
      () => aclFromDisk(disk.subarray(0, length)),
      { code: 'invalid-argument' },
      `${length} bytes`,
    );
  }
  assert.throws(() => aclToDisk(disk), { code: 'invalid-argument' });
  assert.throws(() => aclFromDisk(whole), { code: 'invalid-argument' });
  assert.throws(() => aclToDisk(api([3, 7, 0])), { code: 'invalid-argument' });
});
