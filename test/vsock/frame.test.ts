import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SquibError } from '../../src/base/errors.ts';
import {
  encodeControl,
  FRAME_DATA,
  HEADER_BYTES,
  putDataHeader,
  readControl,
  readHeader,
} from '../../src/vsock/frame.ts';
import { fromHex, vectors } from './vectors.ts';

/** Reads one whole frame as FrameReader does. */
function read(bytes: Uint8Array): unknown {
  const header = readHeader(bytes, 0);
  if (header.type === FRAME_DATA) return header;
  assert.ok(bytes.length >= HEADER_BYTES + header.length, 'the vector is whole');
  return readControl(header, bytes, HEADER_BYTES);
}

for (const { why, hex } of vectors.malformed) {
  test(`malformed: ${why} is data-loss`, () => {
    assert.throws(
      () => read(fromHex(hex)),
      (error) => error instanceof SquibError && error.code === 'data-loss',
    );
  });
}

test('any twelve bytes are a legal header or data-loss, never another error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: HEADER_BYTES, maxLength: HEADER_BYTES }), (bytes) => {
      try {
        const { type, length } = readHeader(bytes, 0);
        assert.ok(type >= 1 && type <= 7 && length <= 65_536);
      } catch (error) {
        assert.ok(error instanceof SquibError && error.code === 'data-loss', String(error));
      }
    }),
  );
});

test('golden bytes: control frames', () => {
  for (const { hex, frame } of vectors.control) {
    assert.deepEqual(encodeControl(frame), fromHex(hex), JSON.stringify(frame));
    assert.deepEqual(read(fromHex(hex)), frame);
  }
});

test('golden bytes: what a later version may send', () => {
  for (const { hex, frame, why } of vectors.lenient) assert.deepEqual(read(fromHex(hex)), frame, why);
});

test('golden bytes: DATA headers, written amid other bytes', () => {
  for (const { hex, stream, length } of vectors.data) {
    const bytes = new Uint8Array(HEADER_BYTES + 2).fill(0xee);
    putDataHeader(bytes, 1, stream, length);
    assert.deepEqual(bytes.slice(1, -1), fromHex(hex));
    assert.deepEqual([bytes[0], bytes.at(-1)], [0xee, 0xee]);
    assert.deepEqual(readHeader(bytes, 1), { type: FRAME_DATA, stream, length });
  }
});
