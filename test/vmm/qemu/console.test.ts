import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CONSOLE_BYTES_MAX, excerptTail, OutputTail, printable } from '../../../src/vmm/qemu/console.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

test('keeps the last bytes, however they come', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 })),
      fc.integer({ min: 1, max: 33 }),
      (chunks, size) => {
        const tail = new OutputTail(size);
        for (const chunk of chunks) tail.push(chunk);
        const all = Buffer.concat(chunks);
        assert.deepEqual(Buffer.from(tail.bytes()), all.subarray(Math.max(0, all.length - size)));
      },
    ),
  );
});

test('a flood stays within the limit', () => {
  const tail = new OutputTail();
  for (let n = 0; n < 100; n++) tail.push(new Uint8Array(9999).fill(0x61));
  tail.push(bytes('end'));
  assert.equal(tail.bytes().length, CONSOLE_BYTES_MAX);
  assert.ok(tail.text().endsWith('aend'));
});

test('does not keep a view of what was pushed', () => {
  const tail = new OutputTail();
  const chunk = bytes('abc');
  tail.push(chunk);
  chunk.fill(0);
  assert.equal(tail.text(), 'abc');
});

test('text cannot steer a terminal', () => {
  assert.equal(printable(bytes('\x1b[31mred\x1b]0;title\x07')), '\\x1b[31mred\\x1b]0;title\\x07');
  assert.equal(printable(bytes('a\r\nb\rc\td\0e\x7f\x9b')), 'a\nb\\x0dc\td\\x00e\\x7f\\x9b');
  assert.equal(
    printable(bytes('\u202etxt\u2028\u200b\u{e0001}')),
    '\\u{202e}txt\\u{2028}\\u{200b}\\u{e0001}',
  );
  assert.equal(printable(Uint8Array.of(0xff, 0x41, 0xc3)), '\ufffdA\ufffd');
  assert.equal(printable(bytes('Grüße 字 🙂')), 'Grüße 字 🙂');
});

test('no control character survives, whatever the bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (input) => {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      assert.doesNotMatch(printable(input), /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/);
    }),
  );
});

test('an error carries a screenful', () => {
  assert.equal(excerptTail('one\ntwo\n\n'), 'one\ntwo');
  const lines = Array.from({ length: 100 }, (_, n) => `line ${n}`);
  assert.equal(excerptTail(lines.join('\n')), lines.slice(-20).join('\n'));
  assert.equal(excerptTail('x'.repeat(50_000)).length, 2001);
  assert.equal(excerptTail(''), '');
});
