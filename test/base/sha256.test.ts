import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { sha256Hex } from '../../src/base/sha256.ts';

const oracle = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('every length around the block boundaries agrees with OpenSSL', () => {
  for (let length = 0; length < 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 31 + length) & 0xff);
    assert.equal(sha256Hex(bytes), oracle(bytes), `${length} bytes`);
  }
});

test('any bytes agree with OpenSSL', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1000 }), (bytes) => {
      assert.equal(sha256Hex(bytes), oracle(bytes));
    }),
  );
});
