import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SquibError } from '../../src/base/errors.ts';
import { type ControlFrame, encodeControl, HEADER_BYTES, putDataHeader } from '../../src/vsock/frame.ts';
import { FrameReader } from '../../src/vsock/frame-reader.ts';
import { concat, fromHex, vectors } from './vectors.ts';

type Event = ControlFrame | { type: 'data'; stream: number; length: number; bytes: number[] };

/** Feeds the chunks and gives the events, with the parts of one DATA frame joined. */
function readAll(chunks: readonly Uint8Array[]): Event[] {
  const events: Event[] = [];
  const reader = new FrameReader({
    control: (frame) => events.push(frame),
    dataBegin: (stream, length) => events.push({ type: 'data', stream, length, bytes: [] }),
    data: (bytes) => {
      const frame = events.at(-1);
      assert.ok(frame?.type === 'data' && bytes.length > 0);
      frame.bytes.push(...bytes);
    },
  });
  for (const chunk of chunks) reader.feed(chunk);
  return events;
}

function dataFrame(stream: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  putDataHeader(frame, 0, stream, payload.length);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Cuts bytes at the given places, in any order, repeated or not. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const at = [...new Set(places.map((n) => n % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => bytes.slice(from, at[i] ?? bytes.length));
}

for (const { why, hex } of vectors.malformed) {
  test(`malformed, byte by byte: ${why} is data-loss by its last byte`, () => {
    const chunks = [...fromHex(hex)].map((byte) => Uint8Array.of(byte));
    assert.throws(
      () => readAll(chunks),
      (error) => error instanceof SquibError && error.code === 'data-loss',
    );
  });
}

test('a length that is too long is refused at the header, before any payload', () => {
  assert.throws(() => readAll([fromHex('04000000 01000000 01000100')]), /DATA of 65537 bytes/);
});

const arbControl = fc.constantFrom(...vectors.control.map(({ frame }) => frame));
const arbData = fc.record({
  stream: fc.integer({ min: 1, max: 0xffffffff }),
  payload: fc.uint8Array({ minLength: 1, maxLength: 300 }),
});

test('any chunking of a frame sequence gives the same events', () => {
  const arb = fc.array(fc.oneof(arbControl, arbData), { maxLength: 20 });
  fc.assert(
    fc.property(arb, fc.array(fc.nat(10_000), { maxLength: 40 }), (frames, places) => {
      const wire = concat(
        frames.map((f) => ('type' in f ? encodeControl(f) : dataFrame(f.stream, f.payload))),
      );
      const expected = frames.map((f) =>
        'type' in f ? f : { type: 'data', stream: f.stream, length: f.payload.length, bytes: [...f.payload] },
      );
      assert.deepEqual(readAll(cut(wire, places)), expected);
    }),
  );
});

test('a frame sequence cut after every byte', () => {
  const frames = vectors.control.map(({ frame }) => frame);
  const wire = concat([...frames.map(encodeControl), dataFrame(7, Uint8Array.of(1, 2, 3))]);
  assert.deepEqual(readAll([...wire].map((byte) => Uint8Array.of(byte))), [
    ...frames,
    { type: 'data', stream: 7, length: 3, bytes: [1, 2, 3] },
  ]);
});

test('payload is handed on as views of the chunk, at once', () => {
  const chunk = dataFrame(1, new Uint8Array(1000)).slice(0, 500);
  const views: Uint8Array[] = [];
  const reader = new FrameReader({
    control: () => assert.fail('no control frame was sent'),
    dataBegin: () => {},
    data: (bytes) => views.push(bytes),
  });
  reader.feed(chunk);
  assert.deepEqual(
    views.map((view) => [view.buffer === chunk.buffer, view.byteOffset, view.length]),
    [[true, HEADER_BYTES, 500 - HEADER_BYTES]],
  );
});
