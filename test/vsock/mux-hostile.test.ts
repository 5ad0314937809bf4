import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SquibError } from '../../src/base/errors.ts';
import { type ControlFrame, encodeControl, WINDOW_BYTES_MAX } from '../../src/vsock/frame.ts';
import { STREAMS_MAX } from '../../src/vsock/mux.ts';
import { dataFrame, Recorder } from './recorder.ts';
import { concat } from './vectors.ts';

const isBreach = (error: unknown) => error instanceof SquibError && error.code === 'data-loss';

type Fed = ControlFrame | Uint8Array;

/** On a host with stream 1 open (100 bytes granted to the peer, 10 to us) and stream 3 opening. */
const BREACHES: readonly [string, readonly Fed[]][] = [
  ['a second HELLO of the guest', [{ type: 'hello', version: 1 }]],
  ['OPEN with an id of ours', [{ type: 'open', stream: 5, port: 9, window: 1 }]],
  [
    'OPEN with an id that was used',
    [
      { type: 'open', stream: 4, port: 9, window: 1 },
      { type: 'open', stream: 4, port: 9, window: 1 },
    ],
  ],
  [
    'OPEN with a lower id',
    [
      { type: 'open', stream: 6, port: 9, window: 1 },
      { type: 'open', stream: 4, port: 9, window: 1 },
    ],
  ],
  ['DATA on a stream of ours that never was', [dataFrame(5, 1)]],
  ['DATA on a stream of the peer that never was', [dataFrame(2, 1)]],
  ['CREDIT on a stream that never was', [{ type: 'credit', stream: 5, delta: 1 }]],
  ['RESET of a stream that never was', [{ type: 'reset', stream: 2, reason: 'failed' }]],
  ['ACCEPT of a stream that never was', [{ type: 'accept', stream: 5, window: 1 }]],
  ['one byte more than granted', [dataFrame(1, 101)]],
  ['one byte more than granted, in two frames', [dataFrame(1, 60), dataFrame(1, 41)]],
  ['ACCEPT twice', [{ type: 'accept', stream: 1, window: 1 }]],
  ['DATA before ACCEPT', [dataFrame(3, 1)]],
  ['CREDIT before ACCEPT', [{ type: 'credit', stream: 3, delta: 1 }]],
  ['SHUTDOWN before ACCEPT', [{ type: 'shutdown', stream: 3 }]],
  ['DATA after SHUTDOWN', [{ type: 'shutdown', stream: 1 }, dataFrame(1, 1)]],
  [
    'SHUTDOWN twice',
    [
      { type: 'shutdown', stream: 1 },
      { type: 'shutdown', stream: 1 },
    ],
  ],
  ['credit that passes the limit by one', [{ type: 'credit', stream: 1, delta: WINDOW_BYTES_MAX - 9 }]],
];

for (const [why, frames] of BREACHES) {
  test(`breach: ${why}`, () => {
    const host = Recorder.ready('host', 100);
    host.openAccepted(7, 10);
    host.open(8);
    for (const frame of frames.slice(0, -1)) host.feed(frame);
    host.events();
    assert.throws(() => host.feed(frames.at(-1) as Fed), isBreach);
    assert.deepEqual(
      host.events().filter((line) => / (data|end|credit)/.test(line)),
      [],
      'nothing of it is passed on',
    );
    assert.throws(() => host.feed({ type: 'credit', stream: 1, delta: 1 }), /failed-precondition|closed/);
    host.mux.close();
    const resets = host.events();
    assert.ok(resets.includes('3 reset unavailable'), resets.join());
  });
}

test('the most credit that is legal is taken', () => {
  const host = Recorder.ready('host');
  const stream = host.openAccepted(7, 10);
  host.feed({ type: 'credit', stream: 1, delta: WINDOW_BYTES_MAX - 10 });
  assert.equal(stream.sendable, 65_536);
});

for (const frame of [
  dataFrame(1, 1),
  encodeControl({ type: 'open', stream: 2, port: 1, window: 1 }),
  encodeControl({ type: 'reset', stream: 1, reason: 'failed' }),
]) {
  test(`breach: frame of type ${frame[0]} before HELLO`, () => {
    const host = new Recorder('host');
    host.mux.hello();
    host.open(1);
    assert.throws(() => host.feed(frame), isBreach);
    assert.deepEqual(host.events(), []);
  });
}

test('frames for a stream that we reset are ignored, its DATA skipped, others served', () => {
  const host = Recorder.ready('host');
  const gone = host.openAccepted(7, 10);
  host.openAccepted(8, 10);
  gone.reset();
  assert.deepEqual(host.sent(), ['reset 1 reason=cancelled']);
  for (const frame of [dataFrame(1, 5000), dataFrame(3, 4)]) host.feed(frame);
  host.feed({ type: 'accept', stream: 1, window: 5 });
  host.feed({ type: 'credit', stream: 1, delta: 5 });
  host.feed({ type: 'shutdown', stream: 1 });
  host.feed({ type: 'reset', stream: 1, reason: 'failed' });
  assert.deepEqual(host.events(), ['3 data 4']);
  assert.deepEqual(host.sent(), [], 'no RESET answers a RESET');
});

test('a reset amid a DATA frame drops the rest of it and nothing else', () => {
  const host = Recorder.ready('host');
  const first = host.openAccepted(7, 10);
  host.openAccepted(8, 10);
  host.onData = (id) => {
    if (id === 1) first.reset();
  };
  const wire = concat([dataFrame(1, 50), dataFrame(3, 7)]);
  host.feed(wire.slice(0, 30));
  host.feed(wire.slice(30));
  assert.deepEqual(host.events(), ['1 data 18', '3 data 7']);
});

test('a Mux that its sink closes amid a chunk reports and sends nothing more', () => {
  const host = Recorder.ready('host');
  host.openAccepted(7, 10);
  host.onData = () => host.mux.close();
  host.feed(
    concat([
      dataFrame(1, 5),
      dataFrame(1, 5),
      encodeControl({ type: 'open', stream: 2, port: 1, window: 1 }),
      dataFrame(99, 5),
    ]),
  );
  assert.deepEqual(host.events(), ['1 data 5', '1 reset unavailable']);
  assert.deepEqual(host.sent(), []);
  assert.throws(
    () => host.open(9),
    (e) => e instanceof SquibError && e.code === 'unavailable',
  );
});

test('a sink that feeds its own Mux gets a named error', () => {
  const host = Recorder.ready('host');
  host.openAccepted(7, 10);
  host.onData = () => host.feed(dataFrame(1, 1));
  assert.throws(() => host.feed(dataFrame(1, 1)), /a sink fed it from a callback/);
});

test('OPEN after OPEN is refused, and leaves no record behind', () => {
  const host = Recorder.ready('host');
  for (let i = 1; i <= 3 * STREAMS_MAX; i++) host.feed({ type: 'open', stream: 2 * i, port: 9, window: 1 });
  const sent = host.sent();
  assert.equal(sent.length, 3 * STREAMS_MAX);
  assert.ok(sent.every((line) => line.endsWith('reason=refused')));
});

test('stream number STREAMS_MAX + 1 of the peer is refused as exhausted until one is gone', () => {
  const guest = Recorder.ready('guest');
  guest.listens.set(9, undefined);
  for (let i = 0; i < STREAMS_MAX; i++) guest.feed({ type: 'open', stream: 1 + 2 * i, port: 9, window: 1 });
  assert.ok(guest.sent().every((line) => line.startsWith('accept ')));
  const next = 1 + 2 * STREAMS_MAX;
  guest.feed({ type: 'open', stream: next, port: 9, window: 1 });
  assert.deepEqual(guest.sent(), [`reset ${next} reason=exhausted`]);
  guest.feed({ type: 'reset', stream: 1, reason: 'cancelled' });
  guest.feed({ type: 'open', stream: next + 2, port: 9, window: 1 });
  assert.deepEqual(guest.sent(), [`accept ${next + 2} window=100`]);
});

test('we open STREAMS_MAX streams and no more', () => {
  const host = Recorder.ready('host');
  for (let i = 0; i < STREAMS_MAX; i++) host.open(9);
  assert.throws(
    () => host.open(9),
    (e) => e instanceof SquibError && e.code === 'resource-exhausted',
  );
  host.feed({ type: 'reset', stream: 5, reason: 'refused' });
  assert.equal(host.open(9).id, 1 + 2 * STREAMS_MAX, 'the id of the refused attempt is not lost');
});

test('random frames and garbage end in events or data-loss, in time and in order of their bytes', () => {
  const id = fc.integer({ min: 0, max: 6 });
  const small = fc.integer({ min: 0, max: 120 });
  const frame = fc.oneof(
    fc.record({ type: fc.constant('open' as const), stream: id, port: small, window: small }),
    fc.record({ type: fc.constant('accept' as const), stream: id, window: small }),
    fc.record({ type: fc.constant('credit' as const), stream: id, delta: small }),
    fc.record({ type: fc.constant('shutdown' as const), stream: id }),
    fc.record({ type: fc.constant('reset' as const), stream: id, reason: fc.constant('failed' as const) }),
  );
  const piece = fc.oneof(
    { weight: 6, arbitrary: frame.map(encodeControl) },
    { weight: 4, arbitrary: fc.tuple(id, small).map(([stream, n]) => dataFrame(stream, n)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.boolean(), (pieces, host) => {
      const end = Recorder.ready(host ? 'host' : 'guest');
      for (const port of [1, 2, 3, 4, 5]) end.listens.set(port, undefined);
      end.openAccepted(1, 10);
      let granted = 100;
      try {
        for (const bytes of pieces) end.feed(bytes);
      } catch (error) {
        assert.ok(isBreach(error), String(error));
      }
      for (const line of end.events()) {
        const match = /^(1|2) data (\d+)$/.exec(line);
        if (match && Number(match[1]) === (host ? 1 : 2)) granted -= Number(match[2]);
      }
      assert.ok(granted >= 0, 'never more than the window');
      end.mux.close();
    }),
    { numRuns: 500 },
  );
});
