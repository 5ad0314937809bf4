import { deepEqual, equal, notEqual, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SquibError } from '../../src/base/errors.ts';
import {
  bool,
  bytes,
  type Codec,
  i32,
  i64,
  list,
  MESSAGE_ITEMS_MAX,
  message,
  string,
  sub,
  u32,
  u64,
} from '../../src/proto/codec.ts';

const Inner = message('t.Inner', { a: u32(1), b: string(2), more: list(u32(3)) });
const All = message('t.All', {
  text: string(1),
  raw: bytes(2),
  flag: bool(3),
  u: u32(4),
  i: i32(5),
  big: u64(6),
  signed: i64(7),
  inner: sub(8, Inner),
  inners: list(sub(9, Inner)),
  texts: list(string(10)),
  numbers: list(u64(16)),
});

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const refused = { name: 'SquibError', code: 'invalid-argument' };

describe('decode of hostile bytes', () => {
  const cases: [string, string][] = [
    ['a tag cut short', '80'],
    ['a varint of eleven bytes', '20 ffffffffffffffffffff01'],
    ['a varint of more than 64 bits', '30 ffffffffffffffffff02'],
    ['a length beyond the end', '0a 05 61'],
    ['a length of 2^64-1', '0a ffffffffffffffffff01'],
    ['a length of 2^32 + 1', '0a 8180808010 61'],
    ['field number 0', '00 01'],
    ['a tag beyond 32 bits', '8080808010 00'],
    ['a tag beyond 32 bits whose rest would be field 4', 'a080808010 01'],
    ['the start of a group', '0b'],
    ['the end of a group', '0c'],
    ['wire type 6', '0e'],
    ['an unknown group', 'a306'],
    ['a nested message with a wrong length', '42 03 0a0561'],
    ['a packed list that ends inside a number', '8201 01 80'],
    ['an unknown fixed64 cut short', 'a106 00000000'],
    ['an unknown fixed32 cut short', 'a506 0000'],
  ];
  for (const [what, input] of cases)
    it(`refuses ${what}`, () => {
      throws(() => All.decode(hex(input)), refused);
    });

  it('names the message and the reason', () => {
    throws(() => All.decode(hex('0a0561')), /3 bytes are no t\.All: .*5 needed at offset 2, 1 there/);
  });

  it('bounds what a few bytes can allocate, in nested lists too', () => {
    const most = new Uint8Array(MESSAGE_ITEMS_MAX * 2).fill(0x4a);
    for (let at = 1; at < most.length; at += 2) most[at] = 0;
    equal(All.decode(most).inners.length, MESSAGE_ITEMS_MAX);
    throws(() => All.decode(Buffer.concat([most, hex('4a00')])), refused);
    throws(() => All.decode(Buffer.concat([most, hex('4205 1a03010203')])), refused);
    throws(() => All.decode(Buffer.concat([hex('8201 818004'), new Uint8Array(65_537)])), refused);
  });

  it('never throws anything but a SquibError and never reads what is not there', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
        try {
          All.decode(input);
        } catch (thrown) {
          if (!(thrown instanceof SquibError) || thrown.code !== 'invalid-argument') throw thrown;
        }
      }),
      { numRuns: 5000 },
    );
  });

  it('survives any one byte changed in a good message', () => {
    const good = All.encode({
      text: 'ab',
      inner: { a: 300, more: [1, 2] },
      inners: [{ b: 'x' }],
      numbers: [1],
    });
    for (let at = 0; at < good.length; at++)
      for (let value = 0; value < 256; value++) {
        const bad = good.slice();
        bad[at] = value;
        try {
          All.decode(bad);
        } catch (thrown) {
          equal((thrown as SquibError).code, 'invalid-argument');
        }
      }
  });
});

describe('decode', () => {
  it('gives every field its default', () => {
    deepEqual(All.decode(new Uint8Array(0)), {
      text: '',
      raw: new Uint8Array(0),
      flag: false,
      u: 0,
      i: 0,
      big: 0,
      signed: 0,
      inner: undefined,
      inners: [],
      texts: [],
      numbers: [],
    });
  });

  it('skips unknown fields of all wire types', () => {
    deepEqual(All.decode(hex('a006 8101  a106 0102030405060708  a206 02 abcd  a506 01020304  20 07')).u, 7);
  });

  it('treats a known field of another wire type as unknown', () => {
    const read = All.decode(hex('08 05  25 01020304  22 0101  41 0102030405060708  20 07'));
    deepEqual([read.text, read.u, read.inner], ['', 7, undefined]);
  });

  it('takes the last of a scalar, merges a message, appends to a list', () => {
    const read = All.decode(hex('2001 2002  42 05 08011a01 07  42 05 120179 1805  5201 61 5201 62'));
    equal(read.u, 2);
    deepEqual(read.inner, { a: 1, b: 'y', more: [7, 5] });
    deepEqual(read.texts, ['a', 'b']);
  });

  it('reads a list of numbers packed, unpacked and mixed', () => {
    deepEqual(All.decode(hex('8201 03 01 ac02  8001 05  8201 00')).numbers, [1, 300, 5]);
  });

  it('cuts 32-bit fields to 32 bits, as every implementation does', () => {
    deepEqual(All.decode(hex('20 8180808010')).u, 1);
    deepEqual(All.decode(hex('28 ffffffff0f')).i, -1);
    deepEqual(All.decode(hex('28 ffffffffffffffffff01')).i, -1);
    equal(All.decode(hex('18 8080808010')).flag, true);
  });

  it('accepts varints with needless bytes', () => {
    equal(All.decode(hex('20 8700')).u, 7);
    equal(All.decode(hex('a000 07')).u, 7);
  });

  it('gives bytes as views of the input', () => {
    const input = hex('12 02 abcd');
    const { raw } = All.decode(input);
    input[2] = 0;
    deepEqual(raw, hex('00cd'));
  });

  it('does not share a default list or bytes between messages', () => {
    notEqual(All.decode(new Uint8Array(0)).texts, All.decode(new Uint8Array(0)).texts);
  });
});

describe('encode of what does not fit', () => {
  const cases: [string, () => unknown, RegExp][] = [
    ['a negative u32', () => All.encode({ u: -1 }), /t\.All\.u: -1/],
    ['a u32 of 33 bits', () => All.encode({ u: 2 ** 32 }), /t\.All\.u: 4294967296 is beyond 32 bits/],
    ['an i32 of 33 bits', () => All.encode({ i: 2 ** 31 }), /t\.All\.i: 2147483648 is beyond 32 bits/],
    ['an i32 below', () => All.encode({ i: -(2 ** 31) - 1 }), /t\.All\.i/],
    ['a fraction', () => All.encode({ big: 0.5 }), /t\.All\.big: 0\.5 is not an integer/],
    ['NaN', () => All.encode({ big: Number.NaN }), /t\.All\.big: NaN/],
    ['infinity as a number', () => All.encode({ signed: Number.NaN }), /t\.All\.signed: NaN/],
    ['a bigint of 65 bits', () => All.encode({ big: 1n << 64n }), /t\.All\.big/],
    ['a bigint below 2^63', () => All.encode({ signed: -(1n << 63n) - 1n }), /t\.All\.signed/],
    [
      'a number for a string',
      () => All.encode({ text: 5 as never }),
      /t\.All\.text: number given, string expected/,
    ],
    ['null', () => All.encode({ text: null as never }), /t\.All\.text: null given/],
    ['a string for bytes', () => All.encode({ raw: 'x' as never }), /t\.All\.raw: string given, Uint8Array/],
    ['a string for a flag', () => All.encode({ flag: 'x' as never }), /t\.All\.flag/],
    [
      'undefined in a list',
      () => All.encode({ texts: [undefined as never] }),
      /t\.All\.texts: undefined given/,
    ],
    ['a bad nested value', () => All.encode({ inners: [{ a: -1 }] }), /t\.All\.inners: t\.Inner\.a: -1/],
    ['null for a message', () => All.encode({ inner: null as never }), /t\.All\.inner: null given/],
  ];
  for (const [what, act, words] of cases)
    it(`refuses ${what}`, () => {
      throws(act, (thrown: SquibError) => thrown.code === 'invalid-argument' && words.test(thrown.message));
    });
});

describe('encode', () => {
  const wire = <T>(codec: Codec<T>, value: Parameters<Codec<T>['encode']>[0]) =>
    Buffer.from(codec.encode(value)).toString('hex');

  it('leaves defaults out, but not in lists', () => {
    equal(wire(All, { text: '', raw: new Uint8Array(0), flag: false, u: 0, big: 0n, inners: [] }), '');
    equal(wire(All, { texts: [''], numbers: [0], inners: [{}] }), '4a005200820101' + '00');
  });

  it('writes an empty message that is there', () => {
    equal(wire(All, { inner: {} }), '4200');
    deepEqual(All.decode(hex('4200')).inner, { a: 0, b: '', more: [] });
  });

  it('writes negative numbers in ten bytes', () => {
    equal(wire(All, { i: -1 }), '28ffffffffffffffffff01');
    equal(wire(All, { signed: -2 }), '38feffffffffffffffff01');
  });

  it('writes numbers of 2^64 and more as 2^64-1', () => {
    equal(wire(All, { big: 2 ** 64 }), '30ffffffffffffffffff01');
    equal(wire(All, { big: (1n << 64n) - 1n }), '30ffffffffffffffffff01');
  });

  it('ignores properties that are no fields', () => {
    equal(wire(All, { u: 1, other: 2 } as never), '2001');
  });

  it('reads back what it wrote', () => {
    const inner = fc.record(
      { a: fc.nat(), b: fc.string({ unit: 'binary' }), more: fc.array(fc.nat()) },
      { noNullPrototype: true },
    );
    const all = fc.record({
      text: fc.string({ unit: 'binary' }),
      raw: fc.uint8Array(),
      flag: fc.boolean(),
      u: fc.integer({ min: 0, max: 0xffff_ffff }),
      i: fc.integer(),
      big: fc.maxSafeNat(),
      signed: fc.maxSafeInteger(),
      inner: fc.option(inner, { nil: undefined }),
      inners: fc.array(inner),
      texts: fc.array(fc.string({ unit: 'binary' })),
      numbers: fc.array(fc.maxSafeNat()),
    });
    fc.assert(
      fc.property(all, (value) => {
        const plus = { ...value, signed: value.signed === 0 ? 0 : value.signed };
        deepEqual(All.decode(All.encode(plus)), plus);
      }),
      { numRuns: 300 },
    );
  });
});
