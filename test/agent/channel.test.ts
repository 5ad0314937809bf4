import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CONTROL_QUEUE_BYTES_MAX } from '../../src/agent/channel.ts';
import { InputStream, STDIN_WINDOW_BYTES } from '../../src/agent/input.ts';
import { OutputStream } from '../../src/agent/output.ts';
import { FakeWire, PORT_FD, Receiver } from './fake-wire.ts';

const PIPE_FD = 20;
const OTHER_FD = 21;
const EPIPE = 32;
const [EPOLLIN, EPOLLOUT, EPOLLERR] = [1, 4, 8];

const bytes = (n: number, from = 0) => Uint8Array.from({ length: n }, (_, i) => (i + from) & 0xff);
const closed = (wire: FakeWire, fd: number) => wire.fake.of('close').some((call) => call.args[0] === fd);

function withOutput(options: { hostWindow?: number } = {}) {
  const wire = new FakeWire(options);
  const pipe = wire.file(PIPE_FD);
  const output = new OutputStream(wire.fake.kernel, wire.loop, wire.channel, PIPE_FD);
  wire.accept = (stream) => output.attach(stream);
  const feed = (...chunks: readonly Uint8Array[]) => {
    pipe.toRead.push(...chunks);
    wire.ready([PIPE_FD, EPOLLIN]);
  };
  return { wire, pipe, output, feed, receiver: new Receiver() };
}

function withInput() {
  const wire = new FakeWire();
  const pipe = wire.file(PIPE_FD);
  const input = new InputStream(wire.fake.kernel, wire.loop, PIPE_FD);
  wire.accept = (stream) => input.attach(stream);
  const receiver = new Receiver();
  const stream = wire.connect(2000, receiver);
  return { wire, pipe, receiver, stream };
}

test('the host closes the wire: told once, streams are reset, nothing more is sent', () => {
  const { wire, receiver } = withOutput();
  wire.connect(2000, receiver);
  wire.port.ended = true;
  wire.turn();
  wire.turn();
  assert.equal(wire.lost.length, 1);
  assert.match(wire.lost[0]?.message ?? '', /the host has closed/);
  assert.ok(closed(wire, PIPE_FD));
  const before = wire.port.written.length;
  wire.turn();
  assert.equal(wire.port.written.length, before);
});

test('a breach of the protocol loses the wire', () => {
  const wire = new FakeWire();
  wire.port.toRead.push(new Uint8Array(12));
  wire.turn();
  assert.equal(wire.lost[0]?.code, 'data-loss');
  assert.equal(wire.channel.alive, false);
});

test('an error of the port loses the wire', () => {
  const wire = new FakeWire();
  wire.fake.on('read', -5);
  wire.turn();
  assert.match(wire.lost[0]?.message ?? '', /read fd 3: EIO/);
});

test('a host that never reads, but asks: the queue has a limit', () => {
  const wire = new FakeWire();
  wire.port.room = 0;
  // Every refused OPEN is owed a RESET of 16 bytes; some are in the arena already.
  const frames = Math.ceil(CONTROL_QUEUE_BYTES_MAX / 16) + 10_000;
  const chunk = new Uint8Array(20 * 1000);
  const view = new DataView(chunk.buffer);
  for (let sent = 0; sent < frames && wire.channel.alive; sent += 1000) {
    for (let i = 0; i < 1000; i++) {
      view.setUint8(i * 20, 2);
      view.setUint32(i * 20 + 4, (sent + i) * 2 + 1, true);
      view.setUint32(i * 20 + 8, 8, true);
      view.setUint32(i * 20 + 12, 4000, true);
      view.setUint32(i * 20 + 16, 0, true);
    }
    wire.port.toRead.push(chunk.slice());
    wire.ready([PORT_FD, EPOLLIN]);
    wire.channel.pump();
  }
  assert.match(wire.lost[0]?.message ?? '', /control frames wait for a host that does not read/);
});

test('output: whatever the pieces and the room, every byte arrives in order, then the end', () => {
  const chunk = fc.integer({ min: 1, max: 70_000 });
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 5 }), fc.integer({ min: 1, max: 40_000 }), (sizes, step) => {
      const { wire, pipe, feed, receiver } = withOutput({ hostWindow: 10_000 });
      wire.port.step = step;
      wire.connect(2000, receiver);
      let at = 0;
      const sent: number[] = [];
      for (const n of sizes) {
        const piece = bytes(n, at);
        at += n;
        sent.push(...piece);
        feed(piece);
        wire.turn();
      }
      pipe.ended = true;
      wire.ready([PIPE_FD, 16]);
      wire.pass();
      assert.deepEqual(receiver.news, ['opened', 'end']);
      assert.ok(Buffer.from(receiver.bytes).equals(Buffer.from(sent)));
      assert.ok(closed(wire, PIPE_FD));
      assert.deepEqual(wire.lost, []);
    }),
    { numRuns: 40 },
  );
});

test('output: nothing is read from the pipe before the host connects, nor without its credit', () => {
  const { wire, pipe, feed, receiver } = withOutput({ hostWindow: 100 });
  feed(bytes(1000));
  wire.pass();
  assert.equal(pipe.reads, 0);
  receiver.consuming = false;
  wire.connect(2000, receiver);
  assert.equal(receiver.bytes.length, 100);
  const { reads } = pipe;
  wire.pass();
  assert.equal(pipe.reads, reads);
  receiver.consuming = true;
  receiver.stream?.consumed(100);
  wire.pass();
  assert.equal(receiver.bytes.length, 1000);
});

test('output: a control frame waits for no more than the bulk frame that is under way', () => {
  const { wire, feed, receiver } = withOutput();
  wire.connect(2000, receiver);
  const control = new Receiver();
  feed(bytes(65_536), bytes(65_536));
  wire.port.room = 100;
  wire.turn();
  wire.host.open(3000, control);
  wire.turn();
  wire.port.room = Number.POSITIVE_INFINITY;
  wire.ready([PORT_FD, EPOLLOUT]);
  wire.channel.pump();
  const frames: number[] = [];
  const all = Buffer.from(wire.port.written);
  for (let at = 0; at < all.length; at += 12 + all.readUInt32LE(at + 8)) frames.push(all[at] as number);
  // HELLO, ACCEPT, the DATA under way, the RESET of the refused stream, the other DATA.
  assert.deepEqual(frames, [1, 3, 4, 7, 4]);
});

test('output: two busy streams take turns', () => {
  const wire = new FakeWire();
  const receivers = [new Receiver(), new Receiver()];
  const outputs = [PIPE_FD, OTHER_FD].map((fd) => {
    wire.file(fd).toRead.push(...Array.from({ length: 8 }, () => bytes(1000)));
    return new OutputStream(wire.fake.kernel, wire.loop, wire.channel, fd);
  });
  wire.accept = (stream) => outputs[stream.port - 2000]?.attach(stream);
  receivers.forEach((receiver, i) => {
    receiver.stream = wire.host.open(2000 + i, receiver);
  });
  wire.turn();
  wire.turn();
  const [a = 0, b = 0] = receivers.map((receiver) => receiver.bytes.length);
  assert.ok(a > 0 && Math.abs(a - b) <= 1000, `${a} and ${b}`);
});

test('output: a second stream on the port is refused; RESET closes the pipe; abandon spares a live one', () => {
  const { wire, output, receiver } = withOutput();
  wire.connect(2000, receiver);
  const second = new Receiver();
  wire.connect(2000, second);
  assert.deepEqual(second.news, ['reset refused']);
  output.abandon();
  assert.ok(!closed(wire, PIPE_FD));
  receiver.stream?.reset();
  wire.pass();
  assert.ok(closed(wire, PIPE_FD));
  const removed = wire.fake.calls.findIndex((call) => call.name === 'epoll_ctl' && call.args[1] === 2);
  const shut = wire.fake.calls.findIndex((call) => call.name === 'close' && call.args[0] === PIPE_FD);
  assert.ok(removed >= 0 && removed < shut, 'taken out of epoll before the close');
});

test('output: abandoned before anybody connected, it is closed and its port refuses', () => {
  const { wire, output, receiver } = withOutput();
  output.abandon();
  wire.connect(2000, receiver);
  assert.deepEqual(receiver.news, ['reset refused']);
  assert.ok(closed(wire, PIPE_FD));
});

test('input: bytes go on from where the port put them, without a copy', () => {
  const { wire, pipe, stream } = withInput();
  stream.write(bytes(5000));
  wire.pass();
  assert.deepEqual(pipe.written, [...bytes(5000)]);
  const write = wire.fake.of('write').find((call) => call.args[0] === PIPE_FD);
  const read = wire.fake
    .of('read')
    .filter((call) => call.args[0] === PORT_FD)
    .map((call) => call.args[1] as number);
  assert.ok(
    read.some((p) => (write?.args[1] as number) - p === 12),
    'right behind the header, in the read buffer',
  );
});

test('input: a full pipe is buffered up to the window, credit comes back as it drains, end comes last', () => {
  const { wire, pipe, stream } = withInput();
  pipe.room = 1000;
  let sent = 0;
  for (let taken = 1; taken > 0; sent += taken) taken = stream.write(bytes(60_000, sent));
  assert.equal(sent, STDIN_WINDOW_BYTES);
  stream.shutdown();
  wire.pass();
  assert.equal(pipe.written.length, 1000);
  assert.equal(stream.sendable, 0);
  assert.ok(!closed(wire, PIPE_FD));
  pipe.room = 100_000;
  wire.ready([PIPE_FD, EPOLLOUT]);
  wire.pass();
  assert.equal(pipe.written.length, 101_000);
  assert.ok(!closed(wire, PIPE_FD));
  pipe.room = Number.POSITIVE_INFINITY;
  wire.ready([PIPE_FD, EPOLLOUT]);
  wire.pass();
  assert.ok(
    Buffer.from(pipe.written).equals(
      Buffer.from(
        Array.from({ length: sent }, (_, i) => ((i % 60_000) + Math.floor(i / 60_000) * 60_000) & 0xff),
      ),
    ),
  );
  assert.ok(closed(wire, PIPE_FD));
  assert.equal(stream.state, 'closed');
});

test('input: credit comes back', () => {
  const { wire, pipe, stream } = withInput();
  for (let i = 0; i < 20; i++) {
    let left = bytes(50_000);
    while (left.length > 0) {
      left = left.subarray(stream.write(left));
      wire.pass();
    }
  }
  assert.equal(pipe.written.length, 1_000_000);
});

for (const how of ['a write fails with EPIPE', 'epoll tells of it'] as const) {
  test(`input: the process has closed stdin, ${how}: the stream is reset`, () => {
    const { wire, pipe, receiver, stream } = withInput();
    if (how === 'epoll tells of it') wire.ready([PIPE_FD, EPOLLOUT | EPOLLERR]);
    else {
      pipe.broken = -EPIPE;
      stream.write(bytes(10));
    }
    wire.pass();
    assert.deepEqual(receiver.news, ['opened', 'reset cancelled']);
    assert.ok(closed(wire, PIPE_FD));
    assert.deepEqual(wire.lost, []);
  });
}

test('input: RESET by the host is the end for the process', () => {
  const { wire, stream } = withInput();
  stream.reset();
  wire.pass();
  assert.ok(closed(wire, PIPE_FD));
});
