import { deepEqual, equal, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ByteReader, ByteWriter, halvesI64, halvesU64 } from '../../src/base/cursor.ts';

const lost = { name: 'SquibError', code: 'data-loss' };
const reader = (...bytes: number[]) => new ByteReader(Uint8Array.from(bytes));

describe('ByteReader beyond the end', () => {
  const cases: [string, (r: ByteReader) => unknown][] = [
    ['u8', (r) => r.u8()],
    ['u32be', (r) => r.u32be()],
    ['varint', (r) => r.varint()],
    ['view', (r) => r.view(4)],
    ['a view of more than fits a number', (r) => r.view(2 ** 64)],
    ['skipField 0', (r) => r.skipField(0)],
    ['skipField 1', (r) => r.skipField(1)],
    ['skipField 2', (r) => r.skipField(2)],
    ['skipField 5', (r) => r.skipField(5)],
  ];
  for (const [what, read] of cases)
    it(`${what} throws data-loss`, () => {
      throws(() => read(reader()), lost);
    });

  it('stays where it was', () => {
    const r = reader(1, 0x80, 0x80);
    r.u8();
    throws(() => r.varint(), lost);
    throws(() => r.u32be(), lost);
    throws(() => r.view(3), lost);
    deepEqual([r.at, r.left], [1, 2]);
  });

  it('says what was needed and what was there', () => {
    const r = reader(1, 2);
    r.u8();
    throws(() => r.u32be(), /4 needed at offset 1, 1 there/);
  });
});

describe('ByteReader.varint', () => {
  it('refuses more than ten bytes and more than 64 bits', () => {
    throws(() => reader(...Array<number>(10).fill(0x80), 0).varint(), lost);
    throws(() => reader(...Array<number>(9).fill(0xff), 2).varint(), lost);
  });

  it('reads every width exactly into its halves', () => {
    for (let bits = 0; bits < 64; bits++)
      for (const value of [
        1n << BigInt(bits),
        (1n << BigInt(bits)) - 1n,
        (1n << 64n) - 1n - (1n << BigInt(bits)),
      ]) {
        const out = new ByteWriter();
        out.varint(Number(value & 0xffff_ffffn), Number(value >> 32n));
        const r = new ByteReader(out.finish());
        equal(r.varint(), Number(value));
        equal((BigInt(r.high) << 32n) | BigInt(r.low), value);
        equal(r.left, 0);
      }
  });
});

describe('ByteReader', () => {
  it('reads big-endian words, also from 2^31 on', () => {
    equal(reader(0xff, 0xff, 0xff, 0xfe).u32be(), 0xffff_fffe);
    equal(reader(0, 0, 1, 2).u32be(), 258);
  });

  it('gives views that share memory', () => {
    const bytes = Uint8Array.of(1, 2, 3);
    const view = new ByteReader(bytes).view(2);
    bytes[1] = 9;
    deepEqual(view, Uint8Array.of(1, 9));
  });

  it('skips fields of all wire types and refuses groups', () => {
    const r = reader(0x80, 1, 1, 2, 3, 4, 5, 6, 7, 8, 2, 9, 9, 1, 2, 3, 4);
    for (const [wire, at] of [
      [0, 2],
      [1, 10],
      [2, 13],
      [5, 17],
    ] as const) {
      r.skipField(wire);
      equal(r.at, at);
    }
    for (const wire of [3, 4, 6, 7]) throws(() => reader(0, 0, 0, 0).skipField(wire), lost);
  });
});

describe('ByteWriter', () => {
  it('grows to any size and keeps what was written', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), fc.nat(10), (parts, expected) => {
        const out = new ByteWriter(expected);
        for (const part of parts) out.raw(part);
        deepEqual(Buffer.from(out.finish()), Buffer.concat(parts));
      }),
    );
  });

  it('writes words and bytes as the reader reads them', () => {
    const out = new ByteWriter(0);
    out.u32be(0xfedc_ba98);
    out.u8(0x1ff);
    deepEqual(out.finish(), Uint8Array.of(0xfe, 0xdc, 0xba, 0x98, 0xff));
  });
});

describe('the halves of 64-bit values', () => {
  it('refuse what is no such value', () => {
    for (const bad of [-1, 0.5, Number.NaN, Number.NEGATIVE_INFINITY, -1n, 1n << 64n])
      throws(() => halvesU64(bad), { code: 'invalid-argument' }, String(bad));
    for (const bad of [0.5, Number.NaN, 1n << 63n, -(1n << 63n) - 1n])
      throws(() => halvesI64(bad), { code: 'invalid-argument' }, String(bad));
  });

  it('are exact for bigints', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (value) => {
        const { low, high } = halvesU64(value);
        equal((BigInt(high) << 32n) | BigInt(low), value);
        const signed = BigInt.asIntN(64, value);
        deepEqual(halvesI64(signed), { low, high });
      }),
    );
  });

  it('are exact for numbers, which are exact', () => {
    const doubles = fc.double({ noNaN: true, min: 0, max: 2 ** 64 - 2 ** 11 }).map(Math.floor);
    fc.assert(
      fc.property(doubles, (value) => {
        const { low, high } = halvesU64(value);
        equal((BigInt(high) << 32n) | BigInt(low), BigInt(value));
      }),
    );
    fc.assert(
      fc.property(
        fc.double({ noNaN: true, min: -(2 ** 63), max: 2 ** 63 - 2 ** 10 }).map(Math.floor),
        (value) => {
          const { low, high } = halvesI64(value);
          equal(BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low)), BigInt(value));
        },
      ),
    );
  });

  it('give the nearest beyond the range', () => {
    deepEqual(halvesU64(2 ** 64), { low: 0xffff_ffff, high: 0xffff_ffff });
    deepEqual(halvesU64(Number.POSITIVE_INFINITY), { low: 0xffff_ffff, high: 0xffff_ffff });
    deepEqual(halvesI64(2 ** 63), { low: 0xffff_ffff, high: 0x7fff_ffff });
    deepEqual(halvesI64(-(2 ** 64)), { low: 0, high: 0x8000_0000 });
    deepEqual(halvesI64(-(2 ** 63)), { low: 0, high: 0x8000_0000 });
  });
});
