import { deepEqual, equal } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { utf8Decode, utf8Encode } from '../../src/base/utf8.ts';

describe('ill-formed UTF-8', () => {
  it('decodes as the platform decodes it, for every two bytes and random more', () => {
    const platform = new TextDecoder('utf-8', { ignoreBOM: true });
    for (let a = 0; a < 256; a++)
      for (let b = 0; b < 256; b++) {
        const bytes = Uint8Array.of(a, b, 0x41);
        if (utf8Decode(bytes) !== platform.decode(bytes))
          equal(utf8Decode(bytes), platform.decode(bytes), `${a} ${b}`);
      }
    const tricky = fc.constantFrom(
      0x41,
      0x80,
      0x8f,
      0x90,
      0x9f,
      0xa0,
      0xbf,
      0xc2,
      0xe0,
      0xe1,
      0xed,
      0xf0,
      0xf1,
      0xf4,
      0xff,
    );
    fc.assert(
      fc.property(fc.array(tricky, { maxLength: 12 }), (raw) => {
        const bytes = Uint8Array.from(raw);
        equal(utf8Decode(bytes), platform.decode(bytes));
      }),
      { numRuns: 5000 },
    );
  });

  it('encodes lone surrogates as the platform does', () => {
    for (const text of [
      '\ud800',
      '\udc00',
      '\ud800a',
      'a\udfff',
      '\udc00\ud800',
      '\ud800\ud800\udc00',
      '\ud83d',
    ])
      deepEqual(Buffer.from(utf8Encode(text)), Buffer.from(new TextEncoder().encode(text)));
  });
});

describe('UTF-8', () => {
  it('keeps every string of whole code points', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        deepEqual(Buffer.from(utf8Encode(text)), Buffer.from(text, 'utf8'));
        equal(utf8Decode(utf8Encode(text)), text);
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps a byte order mark and NUL', () => {
    equal(utf8Decode(utf8Encode('\ufeffa\0b')), '\ufeffa\0b');
  });

  it('reads Buffers', () => {
    equal(utf8Decode(Buffer.from('äöü€𝄞')), 'äöü€𝄞');
  });
});
