import assert from 'node:assert/strict';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES, BlockFile } from '../../src/image/block-file.ts';
import { type CopyOptions, DataArea } from '../../src/image/data-area.ts';
import { Spill } from '../../src/image/spill.ts';

let dir: string;
let fd: number;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-data-'));
  fd = openSync(join(dir, 'out'), 'w+');
});
afterEach(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

const START = 10;
function area(inlineBytesMax = 0, blocksMax = 1e6): { data: DataArea; file: BlockFile } {
  const file = new BlockFile(fd, START, blocksMax);
  return { file, data: new DataArea(file, new Spill(), inlineBytesMax) };
}

/** A node's content by its extents; holes are zeroes. */
function content({ data, file }: { data: DataArea; file: BlockFile }, node: number): Buffer {
  const inline = data.inline(node);
  if (inline) return Buffer.from(inline);
  file.flush();
  const bytes = Buffer.alloc(Math.ceil(data.size(node) / BLOCK_BYTES) * BLOCK_BYTES);
  for (const { logical, physical, blocks } of data.extents(node))
    readSync(fd, bytes, logical * BLOCK_BYTES, blocks * BLOCK_BYTES, physical * BLOCK_BYTES);
  return bytes.subarray(0, data.size(node));
}

function blocksOf(data: DataArea, node: number): number {
  return [...data.extents(node)].reduce((sum, e) => sum + e.blocks, 0);
}

test('sizes that no file has, too little and too much content, and files within files are refused', () => {
  const { data } = area(100);
  for (const size of [-1, 0.5, Number.NaN, 2 ** 45])
    assert.throws(() => data.beginFile(1, size), { code: 'invalid-argument' });
  assert.throws(() => data.write(Buffer.alloc(1)), { code: 'internal' });
  assert.throws(() => data.endFile(), { code: 'internal' });
  for (const size of [10, 5000]) {
    data.beginFile(size, size);
    data.write(Buffer.alloc(size - 1));
    assert.throws(() => data.endFile(), { code: 'data-loss' });
    assert.throws(() => data.write(Buffer.alloc(2)), { code: 'data-loss' });
    assert.throws(() => data.hole(2), { code: 'data-loss' });
    assert.throws(() => data.beginFile(3, 1), { code: 'internal' });
    data.hole(1);
    data.endFile();
  }
});

test('content beyond the end of the area is refused', () => {
  const { data } = area(0, START + 2);
  data.beginFile(1, 5 * BLOCK_BYTES);
  data.write(Buffer.alloc(2 * BLOCK_BYTES, 1));
  assert.throws(() => data.write(Buffer.alloc(1, 1)), { code: 'resource-exhausted' });
});

test('any mixture of data and holes comes back, whatever was released before', () => {
  const piece = fc.oneof(
    fc.record({ data: fc.integer({ min: 1, max: 20_000 }) }, { noNullPrototype: true }),
    fc.record({ data: fc.constantFrom(4096, 8192, 65_536, 300_000) }, { noNullPrototype: true }),
    fc.record({ zeroes: fc.constantFrom(4096, 65_536, 200_000) }, { noNullPrototype: true }),
    fc.record({ hole: fc.integer({ min: 1, max: 20_000 }) }, { noNullPrototype: true }),
  ) as fc.Arbitrary<{ data?: number; zeroes?: number; hole?: number }>;
  const file = fc.record({ pieces: fc.array(piece, { maxLength: 8 }), release: fc.option(fc.nat(10)) });
  fc.assert(
    fc.property(fc.array(file, { maxLength: 8 }), fc.constantFrom(0, 900), (files, inline) => {
      ftruncateSync(fd, 0);
      const target = area(inline);
      const expected = new Map<number, Buffer>();
      files.forEach(({ pieces, release }, node) => {
        const whole = Buffer.concat(
          pieces.map((p, i) =>
            Buffer.alloc(p.data ?? p.zeroes ?? p.hole ?? 0, p.data ? 1 + ((node * 31 + i) % 255) : 0),
          ),
        );
        target.data.beginFile(node, whole.length);
        let at = 0;
        for (const p of pieces) {
          if (p.hole) target.data.hole(p.hole);
          else target.data.write(whole.subarray(at, at + (p.data ?? p.zeroes ?? 0)));
          at += p.data ?? p.zeroes ?? p.hole ?? 0;
        }
        target.data.endFile();
        expected.set(node, whole);
        if (release !== null && expected.has(release)) {
          target.data.release(release);
          expected.delete(release);
        }
      });
      const used = new Set<number>();
      for (const [node, whole] of expected) {
        assert.ok(content(target, node).equals(whole), `file ${node}`);
        for (const { physical, blocks } of target.data.extents(node))
          for (let block = physical; block < physical + blocks; block++) {
            assert.ok(
              block >= START && block < target.file.end && !used.has(block),
              `block ${block} is one file's`,
            );
            used.add(block);
          }
      }
      for (const { start, length } of target.data.free.sorted())
        for (let block = start; block < start + length; block++) {
          assert.ok(!used.has(block), `block ${block} is free or used`);
          used.add(block);
        }
      assert.equal(used.size, target.file.end - START, 'every block is free or used');
    }),
    { numRuns: 60 },
  );
});

test('a copy follows the source, its ranges, and a kernel that copies only a part', () => {
  const source = join(dir, 'source');
  const bytes = Buffer.alloc(3_000_001, 'squib');
  bytes.fill(0, 1_000_000, 2_500_000);
  writeFileSync(source, bytes);
  const from = openSync(source, 'r');
  const copyRange: NonNullable<CopyOptions['copyRange']> = (sourceOffset, targetFd, targetOffset, length) => {
    const part = Math.min(length, 500_000);
    return writeSync(targetFd, bytes, sourceOffset, part, targetOffset);
  };
  const ranges = [
    [0, 1_001_472],
    [2_498_560, 501_441],
  ] as const;
  const cases: CopyOptions[] = [
    {},
    { ranges },
    { copyRange },
    { ranges, copyRange },
    { copyRange: () => 0 },
    { ranges: [[0, 1e9]] },
  ];
  const target = area(900);
  cases.forEach((options, node) => {
    target.data.copyFrom(node, from, bytes.length, options);
    assert.ok(content(target, node).equals(bytes), `case ${node}`);
  });
  assert.ok(blocksOf(target.data, 1) < 400, 'a hole of the source is one of the image');
  target.data.copyFrom(20, from, 800, { ranges: [[0, 800]] });
  assert.ok(target.data.inline(20)?.length === 800);
  for (const size of [30_000, 70_000]) {
    target.data.copyFrom(21, from, size);
    assert.ok(content(target, 21).equals(bytes.subarray(0, size)));
  }
  assert.throws(() => target.data.copyFrom(22, from, bytes.length + 1), { code: 'aborted' });
  closeSync(from);
});
