import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Arena } from '../../../src/agent/sys/arena.ts';
import { SquibError } from '../../../src/base/errors.ts';

const BASE = 0x6000_0000;
const SIZE = 1 << 20;

function arena(size = SIZE): Arena {
  return new Arena({ arch: 'x64', base: BASE, size, memory: new ArrayBuffer(size), sc: () => 0 });
}

const hasCode = (code: string) => (error: unknown) => error instanceof SquibError && error.code === code;

describe('Arena: hostile arguments', () => {
  it('lets no range outside of the arena pass', () => {
    const a = arena();
    const bad: [number, number][] = [
      [0, 1],
      [BASE - 1, 1],
      [BASE, -1],
      [BASE + SIZE, 1],
      [BASE + SIZE - 1, 2],
      [BASE, Number.NaN],
      [Number.NaN, 1],
      [BASE, Number.POSITIVE_INFINITY],
      [BASE, 2 ** 53],
    ];
    for (const [p, n] of bad) assert.throws(() => a.check(p, n), hasCode('internal'), `${p}+${n}`);
    a.check(BASE, SIZE);
    a.check(BASE + SIZE, 0);
  });

  it('refuses scratch beyond its limit and keeps what it had', () => {
    const a = arena();
    const p = a.words(7);
    for (const n of [SIZE, -1, Number.NaN]) assert.throws(() => a.alloc(n), hasCode('resource-exhausted'));
    assert.equal(a.r32(p), 7);
    assert.equal(a.scratchUsed, 8);
  });

  it('refuses a text with a NUL byte inside: the kernel would see another path', () => {
    assert.throws(() => arena().cstr('/etc\0/passwd'), hasCode('invalid-argument'));
  });

  it('refuses a region released twice, wholly or in part', () => {
    const a = arena();
    const [first, second] = [a.reserve(4096), a.reserve(8192)];
    a.release(first);
    assert.throws(() => a.release(first), hasCode('internal'));
    a.release(second);
    assert.throws(() => a.release({ ptr: second.ptr + 4096, bytes: 4096 }), hasCode('internal'));
  });

  it('refuses a region larger than what is left', () => {
    assert.throws(() => arena().reserve(SIZE), hasCode('resource-exhausted'));
  });
});

describe('Arena: scratch', () => {
  it('zeroes, aligns to 8 and starts over with the event', () => {
    const a = arena();
    const dirty = a.alloc(64);
    a.bytes(dirty, 64).fill(0xff);
    a.beginEvent();
    a.alloc(3);
    const p = a.alloc(32);
    assert.equal(p % 8, 0);
    assert.deepEqual(a.copy(p, 32), new Uint8Array(32));
  });

  it('keeps 64-bit values that a double holds, and negative ones as two’s complement', () => {
    const a = arena();
    const p = a.alloc(8);
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        a.w64(p, value);
        const exact = new DataView(a.copy(p, 8).buffer).getBigInt64(0, true);
        assert.equal(exact, BigInt(value));
        if (value >= 0) assert.equal(a.r64(p), value);
      }),
    );
  });

  it('lays strings out as execve takes them', () => {
    const a = arena();
    const p = a.cstrs(['sh', '', 'grüß 🐙']);
    const texts = [0, 1, 2].map((i) => a.text(a.r64(p + i * 8), 100));
    assert.deepEqual(texts, ['sh', '', 'grüß 🐙']);
    assert.equal(a.r64(p + 24), 0);
  });

  it('lays iovecs out as pointer and length, 64 bits each', () => {
    const a = arena();
    const p = a.iovecs(BASE + 16, 5, BASE + 32, 7);
    assert.deepEqual([a.r64(p), a.r64(p + 8), a.r64(p + 16), a.r64(p + 24)], [BASE + 16, 5, BASE + 32, 7]);
  });

  it('moves overlapping bytes', () => {
    const a = arena();
    const p = a.put(Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 0));
    a.move(p + 2, p, 4);
    assert.deepEqual([...a.copy(p, 8)], [1, 2, 1, 2, 3, 4, 0, 0]);
    assert.throws(() => a.move(p, BASE - 8, 4), hasCode('internal'));
  });
});

describe('Arena: regions', () => {
  it('never overlap each other or the scratch, and all memory comes back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 40_000 }), drop: fc.nat() })),
        (steps) => {
          const a = arena();
          const live: { ptr: number; bytes: number }[] = [];
          for (const { bytes, drop } of steps) {
            const full = live.reduce((sum, r) => sum + r.bytes, 0) > SIZE / 4;
            if (full || (drop % 3 === 0 && live.length > 0)) {
              a.release(live.splice(drop % live.length, 1)[0] as { ptr: number; bytes: number });
              continue;
            }
            const region = a.reserve(bytes);
            assert.ok(region.bytes >= bytes && region.ptr % 4096 === 0);
            assert.ok(region.ptr >= BASE + SIZE / 2 && region.ptr + region.bytes <= BASE + SIZE);
            for (const other of live) {
              assert.ok(region.ptr + region.bytes <= other.ptr || other.ptr + other.bytes <= region.ptr);
            }
            live.push(region);
          }
          for (const region of live) a.release(region);
          assert.equal(a.reserve(SIZE / 2).bytes, SIZE / 2);
        },
      ),
    );
  });
});
