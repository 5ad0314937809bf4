import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SquibError } from '../../src/base/errors.ts';
import { FRAME_DATA_BYTES_MAX, HEADER_BYTES, WINDOW_BYTES_MAX } from '../../src/vsock/frame.ts';
import { Mux } from '../../src/vsock/mux.ts';
import { dataFrame, frameLines, Recorder } from './recorder.ts';

const hasCode = (code: string) => (error: unknown) => error instanceof SquibError && error.code === code;

test('illegal verbs are named errors that send nothing', () => {
  const host = Recorder.ready('host');
  const opening = host.open(9);
  host.sent();
  assert.throws(() => opening.write(Uint8Array.of(1)), /cannot write stream 1: it is opening/);
  assert.throws(() => opening.shutdown(), hasCode('failed-precondition'));
  const ended = host.openAccepted(9, 10);
  ended.shutdown();
  host.sent();
  assert.throws(() => ended.write(Uint8Array.of(1)), /half-closed-local/);
  assert.throws(() => ended.shutdown(), hasCode('failed-precondition'));
  assert.throws(() => ended.claim(1, new Uint8Array(HEADER_BYTES), 0), hasCode('failed-precondition'));
  assert.deepEqual(host.sent(), []);
});

test('a claim outside 1 … sendable is an error and costs no credit', () => {
  const host = Recorder.ready('host');
  const stream = host.openAccepted(9, 10);
  const header = new Uint8Array(HEADER_BYTES);
  for (const n of [0, -1, 11, Number.NaN]) {
    assert.throws(() => stream.claim(n, header, 0), hasCode('invalid-argument'), String(n));
  }
  assert.equal(stream.sendable, 10);
});

test('a port or window that is none is an error', () => {
  const host = Recorder.ready('host');
  for (const port of [0, -1, 1.5, 2 ** 32, Number.NaN]) {
    assert.throws(() => host.open(port), hasCode('invalid-argument'), String(port));
  }
  const sink = { send: () => {}, ready: () => {}, accept: () => undefined };
  for (const window of [-1, 0.5, WINDOW_BYTES_MAX + 1]) {
    assert.throws(() => new Mux('host', sink, { window }), hasCode('invalid-argument'), String(window));
  }
});

test('opening: HELLO, then OPEN before the peer is there; ACCEPT brings credit', () => {
  const host = new Recorder('host', 100);
  host.mux.hello();
  const stream = host.open(1);
  assert.deepEqual(host.sent(), ['hello 0 version=1', 'open 1 port=1 window=100']);
  assert.equal(stream.sendable, 0);
  host.feed({ type: 'hello', version: 3 });
  host.feed({ type: 'accept', stream: 1, window: 70_000 });
  assert.deepEqual(host.events(), ['ready', '1 opened']);
  assert.equal(stream.sendable, FRAME_DATA_BYTES_MAX);
});

test('accepting: the port decides, and its sink may have a window of its own', () => {
  const guest = Recorder.ready('guest', 100);
  guest.listens.set(7, undefined).set(8, 0);
  guest.feed({ type: 'open', stream: 1, port: 7, window: 5 });
  guest.feed({ type: 'open', stream: 3, port: 8, window: 5 });
  guest.feed({ type: 'open', stream: 7, port: 9, window: 5 });
  assert.deepEqual(guest.sent(), ['accept 1 window=100', 'accept 3 window=0', 'reset 7 reason=refused']);
  assert.equal(guest.accepted.get(1)?.sendable, 5);
  assert.throws(() => guest.feed(dataFrame(3, 1)), hasCode('data-loss'), 'a window of 0 takes nothing');
});

test('an acceptor may refuse with a reason of its own, and cannot write before it has accepted', () => {
  const lines: string[] = [];
  const mux = new Mux('guest', {
    send: (frame) => lines.push(...frameLines(frame)),
    ready: () => {},
    accept: (stream) => {
      assert.throws(() => stream.write(Uint8Array.of(1)), hasCode('failed-precondition'));
      stream.reset('failed');
      return undefined;
    },
  });
  const peer = new Recorder('host');
  mux.hello();
  lines.length = 0;
  for (const frame of ['hello', 'open'] as const) {
    const bytes: Uint8Array[] = [];
    const host = new Mux('host', { send: (b) => bytes.push(b), ready: () => {}, accept: () => undefined });
    if (frame === 'hello') host.hello();
    else
      host.open(
        5,
        peer.sink(() => 1),
      );
    for (const chunk of bytes) mux.receive(chunk);
  }
  assert.deepEqual(lines, ['reset 1 reason=failed']);
});

test('write stops at the credit and goes on after CREDIT', () => {
  const host = Recorder.ready('host');
  const stream = host.openAccepted(9, 70_000);
  assert.equal(stream.write(new Uint8Array(100_000)), 70_000);
  assert.deepEqual(host.sent(), ['data 1 65536', 'data 1 4464']);
  assert.equal(stream.write(Uint8Array.of(1)), 0);
  host.feed({ type: 'credit', stream: 1, delta: 10 });
  assert.deepEqual(host.events(), ['1 credit']);
  assert.equal(stream.write(new Uint8Array(100)), 10);
});

test('claim writes the header where it is told and takes the credit', () => {
  const host = Recorder.ready('host');
  const stream = host.openAccepted(9, 100);
  const frame = new Uint8Array(4 + HEADER_BYTES + 30);
  stream.claim(30, frame, 4);
  assert.deepEqual(frameLines(frame.subarray(4)), ['data 1 30']);
  assert.equal(stream.sendable, 70);
});

test('credit goes back in lumps of a quarter of the window, and not after the peer has ended', () => {
  const host = Recorder.ready('host', 100);
  const stream = host.openAccepted(9, 10);
  host.feed(dataFrame(1, 100));
  stream.consumed(24);
  assert.deepEqual(host.sent(), []);
  stream.consumed(1);
  assert.deepEqual(host.sent(), ['credit 1 delta=25']);
  host.feed(dataFrame(1, 25));
  host.feed({ type: 'shutdown', stream: 1 });
  stream.consumed(100);
  assert.deepEqual(host.sent(), []);
});

test('a window of one byte still moves', () => {
  const host = Recorder.ready('host', 1);
  const stream = host.openAccepted(9, 10);
  for (let i = 0; i < 5; i++) {
    host.feed(dataFrame(1, 1));
    stream.consumed(1);
  }
  assert.deepEqual(host.sent(), Array(5).fill('credit 1 delta=1'));
});

test('half-close, ours first: data still comes, the peer closes', () => {
  const host = Recorder.ready('host');
  const stream = host.openAccepted(9, 10);
  stream.shutdown();
  host.feed({ type: 'credit', stream: 1, delta: 5 });
  host.feed(dataFrame(1, 60));
  stream.consumed(60);
  host.feed({ type: 'shutdown', stream: 1 });
  assert.deepEqual(host.sent(), ['shutdown 1', 'credit 1 delta=60']);
  assert.deepEqual(host.events(), ['1 data 60', '1 end']);
  assert.equal(stream.state, 'closed');
});

test('half-close, the peer first: we still write, then close; a late CREDIT is ignored', () => {
  const host = Recorder.ready('host');
  const stream = host.openAccepted(9, 10);
  host.feed({ type: 'shutdown', stream: 1 });
  assert.equal(stream.write(new Uint8Array(20)), 10);
  host.feed({ type: 'credit', stream: 1, delta: 5 });
  assert.equal(stream.write(new Uint8Array(5)), 5);
  stream.shutdown();
  host.feed({ type: 'credit', stream: 1, delta: 15 });
  assert.deepEqual(host.sent(), ['data 1 10', 'data 1 5', 'shutdown 1']);
  assert.deepEqual(host.events(), ['1 end', '1 credit']);
  assert.equal(stream.state, 'closed');
});

test('reset, ours: once, and silence after it', () => {
  const host = Recorder.ready('host');
  const stream = host.openAccepted(9, 10);
  stream.reset('failed');
  stream.reset();
  stream.consumed(10);
  assert.deepEqual(host.sent(), ['reset 1 reason=failed']);
  assert.deepEqual(host.events(), []);
  assert.equal(stream.sendable, 0);
});

test("reset, the peer's: in any state, reported once, not answered", () => {
  const host = Recorder.ready('host');
  const streams = [
    host.open(9),
    host.openAccepted(9, 10),
    host.openAccepted(9, 10),
    host.openAccepted(9, 10),
  ];
  streams[2]?.shutdown();
  host.feed({ type: 'shutdown', stream: 7 });
  host.sent();
  host.events();
  for (const stream of [1, 3, 5, 7]) host.feed({ type: 'reset', stream, reason: 'refused' });
  host.mux.close();
  assert.deepEqual(host.sent(), []);
  assert.deepEqual(
    host.events(),
    [1, 3, 5, 7].map((id) => `${id} reset refused`),
  );
});

test('close resets every stream once, whatever its state', () => {
  const host = Recorder.ready('host');
  host.open(9);
  host.openAccepted(9, 10).shutdown();
  host.mux.close();
  host.mux.close();
  assert.deepEqual(host.events(), ['1 reset unavailable', '3 reset unavailable']);
});

test("a new host's HELLO: the guest starts afresh and takes its ids from 1 again", () => {
  const guest = Recorder.ready('guest');
  guest.listens.set(1, undefined);
  guest.feed({ type: 'open', stream: 41, port: 1, window: 5 });
  guest.sent();
  guest.feed({ type: 'hello', version: 1 });
  assert.deepEqual(guest.sent(), ['hello 0 version=1']);
  assert.deepEqual(guest.events(), ['41 reset unavailable', 'ready']);
  guest.feed({ type: 'open', stream: 1, port: 1, window: 5 });
  assert.deepEqual(guest.sent(), ['accept 1 window=100']);
});
