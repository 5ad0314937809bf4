import { deepEqual, equal, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  encodeFrame,
  FLAG_NO_DATA,
  FLAG_REMOTE_CLOSED,
  FRAME_DATA,
  FRAME_DATA_BYTES_MAX,
  FRAME_REQUEST,
  type Frame,
  FrameDecoder,
} from '../../src/ttrpc/frame.ts';
import { concat, golden, text } from './vectors.ts';

const header = (length: number, stream = 1, type = 1, flags = 0): Uint8Array => {
  const bytes = Buffer.alloc(10);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(stream, 4);
  bytes.writeUInt8(type, 8);
  bytes.writeUInt8(flags, 9);
  return bytes;
};

describe('hostile frames', () => {
  it('a length whose first byte is not zero is no ttrpc', () => {
    for (const bytes of [header(0x0100_0000), header(0xffff_ffff), text('GET / HTTP/1.1\r\n')])
      throws(() => new FrameDecoder().push(bytes), { code: 'data-loss', message: /does not speak ttrpc/ });
  });

  it('oversized data is thrown away and told, and the next frame is read', () => {
    const decoder = new FrameDecoder(8);
    const bytes = concat(header(9, 5), new Uint8Array(9).fill(7), header(8, 7), new Uint8Array(8).fill(1));
    deepEqual(decoder.push(bytes), [
      { stream: 5, type: 1, flags: 0, data: new Uint8Array(0), discarded: 9 },
      { stream: 7, type: 1, flags: 0, data: new Uint8Array(8).fill(1), discarded: 0 },
    ]);
  });

  it('the largest length is discarded in pieces without being held', () => {
    const decoder = new FrameDecoder();
    equal(decoder.push(header(0xff_ffff, 3)).length, 0);
    const before = process.memoryUsage().arrayBuffers;
    const piece = new Uint8Array(65_535);
    for (let sent = 0; sent < 0xff_ffff - 65_535; sent += piece.length) equal(decoder.push(piece).length, 0);
    equal(process.memoryUsage().arrayBuffers - before < 4_000_000, true);
    const last = decoder.push(piece.subarray(0, 0xff_ffff % 65_535 || 65_535));
    deepEqual(
      last.map((frame) => [frame.stream, frame.discarded]),
      [[3, 0xff_ffff]],
    );
  });

  it('exactly 4 MiB is taken, one byte more is not', () => {
    const data = new Uint8Array(FRAME_DATA_BYTES_MAX).fill(3);
    const [frame] = new FrameDecoder().push(concat(header(data.length), data));
    deepEqual([frame?.data.length, frame?.discarded], [data.length, 0]);
    const [over] = new FrameDecoder().push(concat(header(data.length + 1), data, text('x')));
    deepEqual([over?.data.length, over?.discarded], [0, data.length + 1]);
    throws(() => encodeFrame({ stream: 1, type: 1, flags: 0 }, new Uint8Array(FRAME_DATA_BYTES_MAX + 1)), {
      code: 'resource-exhausted',
    });
  });

  it('a chunk that is reused afterwards does no harm, be it a Buffer', () => {
    for (const make of [(b: Uint8Array) => Uint8Array.from(b), (b: Uint8Array) => Buffer.from(b)]) {
      const chunk = make(concat(header(3), text('abc')));
      const [frame] = new FrameDecoder().push(chunk);
      chunk.fill(0);
      equal(Buffer.from(frame?.data ?? []).toString(), 'abc');
    }
  });
});

describe('frames', () => {
  const frames = fc.array(
    fc.record(
      {
        stream: fc.integer({ min: 0, max: 0xffff_ffff }),
        type: fc.nat(255),
        flags: fc.nat(255),
        data: fc.uint8Array({ maxLength: 50 }),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 8 },
  );

  it('come out as they went in, however the bytes are cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(40)), (sent, cuts) => {
        const bytes = concat(...sent.map((frame) => encodeFrame(frame, frame.data)));
        const decoder = new FrameDecoder();
        const got: Frame[] = [];
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          got.push(...decoder.push(bytes.subarray(at, at + cut)));
          at = Math.min(at + cut, bytes.length);
        }
        deepEqual(
          got,
          sent.map((frame) => ({ ...frame, discarded: 0 })),
        );
      }),
      { numRuns: 500 },
    );
  });

  it('come out one byte at a time', () => {
    const decoder = new FrameDecoder();
    const got = [...golden('request-connect')].flatMap((byte) => decoder.push(Uint8Array.of(byte)));
    deepEqual(
      got.map((frame) => [frame.stream, frame.type, frame.flags, frame.data.length]),
      [[3, FRAME_REQUEST, 0, 0x4b]],
    );
  });

  it('are written as the golden bytes say', () => {
    const end = { stream: 7, type: FRAME_DATA, flags: FLAG_REMOTE_CLOSED | FLAG_NO_DATA };
    deepEqual(encodeFrame(end, new Uint8Array(0)), golden('stream-end'));
    deepEqual(new FrameDecoder().push(golden('stream-end')), [
      { ...end, data: new Uint8Array(0), discarded: 0 },
    ]);
  });
});
