import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { keepable, ReceiveQueue } from '../../src/vsock/receive-queue.ts';

/** Takes everything out. */
function drain(queue: ReceiveQueue): Buffer[] {
  const pieces: Buffer[] = [];
  for (let piece = queue.shift(); piece !== undefined; piece = queue.shift()) pieces.push(piece);
  assert.ok(queue.empty);
  return pieces;
}

/** Bytes of memory that the pieces keep alive. */
function pinned(pieces: readonly Buffer[]): number {
  let bytes = 0;
  for (const buffer of new Set(pieces.map((piece) => piece.buffer))) bytes += buffer.byteLength;
  return bytes;
}

test('a short view of a long chunk does not keep the chunk', () => {
  const chunk = new Uint8Array(65_536);
  assert.equal(keepable(chunk.subarray(5, 6)).buffer.byteLength, 1);
  assert.equal(keepable(chunk.subarray(0, 16_383)).buffer.byteLength, 16_383);
  assert.equal(keepable(chunk.subarray(0, 16_384)).buffer, chunk.buffer, 'a quarter may stay');
});

test('262144 single bytes, each of a chunk of its own, become 16 pieces', () => {
  const queue = new ReceiveQueue();
  for (let i = 0; i < 262_144; i++) queue.push(new Uint8Array(64).fill(i).subarray(3, 4));
  const pieces = drain(queue);
  assert.equal(pieces.length, 16);
  assert.ok(Buffer.concat(pieces).every((byte, i) => byte === (i & 255)));
});

test('memory stays within four times the bytes, however they are cut', () => {
  const queue = new ReceiveQueue();
  for (let i = 0; i < 500; i++) queue.push(new Uint8Array(65_536).subarray(0, 4096 + i));
  for (let i = 0; i < 500; i++) {
    queue.push(new Uint8Array(4096));
    queue.push(new Uint8Array(1));
  }
  const pieces = drain(queue);
  const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  assert.ok(pinned(pieces) <= 4 * bytes, `${pinned(pieces)} bytes pinned for ${bytes}`);
});

test('what goes in comes out, in order', () => {
  const size = fc.oneof(fc.nat(10), fc.integer({ min: 4000, max: 20_000 }));
  const step = fc.oneof(fc.record({ push: size }), fc.constant('shift' as const));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new ReceiveQueue();
      const out: Buffer[] = [];
      let next = 0;
      for (const s of steps) {
        if (s === 'shift') out.push(queue.shift() ?? Buffer.alloc(0));
        else queue.push(Uint8Array.from({ length: s.push }, () => next++ & 255));
      }
      out.push(...drain(queue));
      const all = Buffer.concat(out);
      assert.equal(all.length, next);
      assert.ok(all.every((byte, i) => byte === (i & 255)));
    }),
  );
});

test('clear drops everything', () => {
  const queue = new ReceiveQueue();
  queue.push(new Uint8Array(5000));
  queue.push(new Uint8Array(5));
  queue.clear();
  assert.equal(queue.shift(), undefined);
});
