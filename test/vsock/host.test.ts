import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type TestContext, test } from 'node:test';
import { sleep, withDeadline } from '../../src/base/deadline.ts';
import { SquibError } from '../../src/base/errors.ts';
import { encodeControl } from '../../src/vsock/frame.ts';
import { SerialHost } from '../../src/vsock/host.ts';
import { SerialGuest } from '../fake/serial-guest.ts';
import { socketPair } from '../fake/socket-pair.ts';

const ECHO = 7;
const MIB = 1_048_576;

interface Rig {
  readonly host: SerialHost;
  readonly guest: SerialGuest;
  readonly guestWire: Socket;
}

/** A host and a guest that echoes on port ECHO, over a unix socket. */
async function rig(t: TestContext, windows: { host?: number; guest?: number } = {}): Promise<Rig> {
  const [wire, guestWire] = await socketPair();
  t.after(() => {
    wire.destroy();
    guestWire.destroy();
  });
  const guest = new SerialGuest(guestWire, windows.guest === undefined ? {} : { window: windows.guest });
  guest.ports.set(ECHO, (stream) => stream.pipe(stream));
  const host = SerialHost.attach(wire, windows.host === undefined ? {} : { window: windows.host });
  guest.hello();
  await withDeadline(host.ready, 5000, "the guest's HELLO");
  return { host, guest, guestWire };
}

async function stop({ host, guestWire, guest }: Rig): Promise<void> {
  host.close();
  assert.equal(await host.closed, undefined);
  guestWire.destroy();
  assert.equal(guest.failure, undefined);
}

/** The next stream that the guest accepts on a port. */
function accepted(guest: SerialGuest, port: number): Promise<Duplex> {
  return new Promise((resolve) => {
    guest.ports.set(port, resolve);
  });
}

/** Writes `bytes` pseudo-random bytes in odd pieces and half-closes; gives their hash. */
async function produce(stream: Duplex, bytes: number): Promise<string> {
  const hash = createHash('sha1');
  await pipeline(
    async function* () {
      const block = Buffer.allocUnsafe(MIB);
      for (let i = 0; i < block.length; i++) block[i] = (i * 2_654_435_761) >>> 13;
      for (let left = bytes, n = 1; left > 0; n = (n * 7 + 1) % 90_001) {
        const piece = block.subarray(n, n + Math.min(left, n + 1));
        left -= piece.length;
        hash.update(piece);
        yield piece;
      }
    },
    stream,
    { end: true },
  );
  return hash.digest('hex');
}

async function consume(stream: Duplex): Promise<{ bytes: number; hash: string }> {
  const hash = createHash('sha1');
  let bytes = 0;
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, hash: hash.digest('hex') };
}

const hasCode = (code: string) => (error: unknown) => error instanceof SquibError && error.code === code;

test('a port where nobody listens is not-found', async (t) => {
  const r = await rig(t);
  const stream = r.host.connect(99);
  stream.write('lost');
  const [error] = await once(stream, 'error');
  assert.ok(hasCode('not-found')(error), String(error));
  assert.match(error.message, /port 99/);
  await stop(r);
});

for (const [name, windows] of [
  ['default windows', {}],
  ['a guest with a small window', { guest: 10_000 }],
  ['a host with a tiny window', { host: 777 }],
] as const) {
  const bytes = windows.host === 777 ? 2 * MIB : 64 * MIB;
  test(`${bytes / MIB} MiB each way at once, ${name}`, { timeout: 60_000 }, async (t) => {
    const r = await rig(t, windows);
    const theirs = accepted(r.guest, 2000);
    const ours = r.host.connect(2000);
    const there = await theirs;
    const [a, b, atGuest, atHost] = await Promise.all([
      produce(ours, bytes),
      produce(there, bytes),
      consume(there),
      consume(ours),
    ]);
    assert.deepEqual(atGuest, { bytes, hash: a });
    assert.deepEqual(atHost, { bytes, hash: b });
    await stop(r);
  });
}

test('forty streams at once, each its own bytes', { timeout: 60_000 }, async (t) => {
  const r = await rig(t, { guest: 16_384 });
  await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const stream = r.host.connect(ECHO);
      const bytes = 100_000 + i;
      const [hash, got] = await Promise.all([produce(stream, bytes), consume(stream)]);
      assert.deepEqual(got, { bytes, hash });
    }),
  );
  await stop(r);
});

test('stalled readers at both ends of one stream leave the control port answering', {
  timeout: 30_000,
}, async (t) => {
  const r = await rig(t);
  const theirs = accepted(r.guest, 2000);
  const bulk = r.host.connect(2000);
  const there = await theirs;
  const flood = (stream: Duplex): void => {
    const block = Buffer.alloc(65_536);
    const more = (): void => {
      while (stream.write(block));
    };
    stream.on('drain', more);
    more();
  };
  flood(bulk);
  flood(there);
  r.guest.ports.set(1, (stream) => stream.pipe(stream));
  const control = r.host.connect(1);
  let slowest = 0;
  for (let i = 0; i < 100; i++) {
    const start = performance.now();
    control.write(`call ${i}`);
    const [answer] = await once(control, 'data');
    assert.equal(String(answer), `call ${i}`);
    slowest = Math.max(slowest, performance.now() - start);
  }
  assert.ok(slowest < 1000, `slowest call: ${slowest} ms`);
  bulk.on('error', () => {});
  control.on('error', () => {});
  await stop(r);
});

test('half-close by the host: the guest sees the end and still answers', async (t) => {
  const r = await rig(t);
  const theirs = accepted(r.guest, 2000);
  const ours = r.host.connect(2000);
  ours.end('the question');
  const there = await theirs;
  const { bytes } = await consume(there);
  assert.equal(bytes, 12);
  there.end('the answer');
  const closed = once(ours, 'close');
  assert.equal((await consume(ours)).bytes, 10);
  await closed;
  await stop(r);
});

test('half-close by the guest: the host sees the end and still writes', async (t) => {
  const r = await rig(t);
  const theirs = accepted(r.guest, 2000);
  const ours = r.host.connect(2000);
  const there = await theirs;
  there.end('all');
  assert.equal((await consume(ours)).bytes, 3);
  ours.end('after');
  assert.equal((await consume(there)).bytes, 5);
  await stop(r);
});

test('end before the guest has accepted, with and without bytes', async () => {
  const [wire, guestWire] = await socketPair();
  const host = SerialHost.attach(wire);
  const streams = [host.connect(ECHO).end(), host.connect(ECHO).end('early')];
  await sleep(20);
  const guest = new SerialGuest(guestWire);
  guest.ports.set(ECHO, (stream) => stream.pipe(stream));
  guest.hello();
  const got = await Promise.all(streams.map((stream) => consume(stream as Duplex)));
  assert.deepEqual(
    got.map(({ bytes }) => bytes),
    [0, 5],
  );
  await stop({ host, guest, guestWire });
});

test('destroy of the host stream resets it at the guest', async (t) => {
  const r = await rig(t);
  const theirs = accepted(r.guest, 2000);
  const ours = r.host.connect(2000);
  const there = await theirs;
  ours.destroy();
  const [error] = await once(there, 'error');
  assert.match(error.message, /cancelled/);
  await stop(r);
});

test('destroy before the guest has accepted', async (t) => {
  const r = await rig(t);
  const ours = r.host.connect(ECHO);
  ours.end('x');
  ours.destroy();
  await once(ours, 'close');
  assert.equal((await consume(r.host.connect(ECHO).end('still works') as Duplex)).bytes, 11);
  await stop(r);
});

test('reset by the guest fails the host stream, also amid a write, with aborted', async (t) => {
  const r = await rig(t);
  const theirs = accepted(r.guest, 2000);
  const ours = r.host.connect(2000);
  const there = await theirs;
  const written = new Promise<Error | null | undefined>((resolve) => {
    ours.write(Buffer.alloc(MIB), resolve);
  });
  there.destroy();
  const [error] = await once(ours, 'error');
  assert.ok(hasCode('aborted')(error), String(error));
  assert.ok(await written);
  await stop(r);
});

test('the wire ends: every stream fails with unavailable, and so does the next', async (t) => {
  const r = await rig(t);
  const streams = [1, 2000, 2001].map((port) => {
    r.guest.ports.set(port, () => {});
    return r.host.connect(port);
  });
  await Promise.all(streams.map((stream) => once(stream, 'connect')));
  const failures = Promise.all(streams.map((stream) => once(stream, 'error')));
  r.guestWire.destroy();
  for (const [error] of await failures) assert.ok(hasCode('unavailable')(error), String(error));
  assert.ok(hasCode('unavailable')(await r.host.closed));
  assert.throws(() => r.host.connect(1), hasCode('unavailable'));
});

test('the wire ends after the guest has ended a stream: all its bytes come, and no error', async (t) => {
  const r = await rig(t);
  const theirs = accepted(r.guest, 2000);
  const ours = r.host.connect(2000);
  const there = await theirs;
  there.end(Buffer.alloc(200_000));
  await once(there, 'finish');
  r.guestWire.end();
  await r.host.closed;
  assert.equal((await consume(ours)).bytes, 200_000);
});

for (const size of [10, 200_000]) {
  test(`the wire ends amid a stream: the ${size} bytes that came are delivered before the error`, async (t) => {
    const r = await rig(t);
    const theirs = accepted(r.guest, 2000);
    const ours = r.host.connect(2000);
    const there = await theirs;
    let bytes = 0;
    ours.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await sleep(10);
    ours.pause();
    await new Promise((resolve) => there.write(Buffer.alloc(size), resolve));
    r.guestWire.end();
    await r.host.closed;
    assert.equal(bytes, 0);
    ours.resume();
    const [error] = await once(ours, 'error');
    assert.ok(hasCode('unavailable')(error), String(error));
    assert.equal(bytes, size);
  });
}

test('a write is done when the wire has taken its bytes, not before', async () => {
  let release: (() => void) | undefined;
  const wire = new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      release = done;
    },
  });
  const host = SerialHost.attach(wire);
  release?.();
  const stream = host.connect(2000);
  release?.();
  wire.push(encodeControl({ type: 'hello', version: 1 }));
  wire.push(encodeControl({ type: 'accept', stream: 1, window: 100 }));
  await once(stream, 'connect');
  let done = false;
  stream.write('some bytes', () => {
    done = true;
  });
  for (const part of ['header', 'payload']) {
    await new Promise(setImmediate);
    assert.equal(done, false, `the ${part} is not on the wire`);
    release?.();
  }
  await new Promise(setImmediate);
  assert.equal(done, true);
  stream.on('error', () => {});
  host.close();
});

test('the program may reuse a buffer once its write is done', async (t) => {
  const r = await rig(t, { guest: 5000 });
  const stream = r.host.connect(ECHO);
  const block = Buffer.alloc(50_000);
  const done = (async () => {
    for (let i = 0; i < 20; i++) {
      block.fill(i);
      await new Promise((resolve) => stream.write(block, resolve));
    }
    stream.end();
  })();
  let at = 0;
  for await (const chunk of stream) {
    for (const byte of chunk as Buffer) assert.equal(byte, Math.floor(at++ / 50_000));
  }
  await done;
  assert.equal(at, 1_000_000);
  await stop(r);
});

test('close: no stream, listener or handle keeps the process or the wire', async (t) => {
  const r = await rig(t);
  const stream = r.host.connect(ECHO);
  const failed = once(stream, 'error');
  r.host.close();
  r.host.close();
  const [error] = await failed;
  assert.ok(hasCode('unavailable')(error));
  await new Promise((resolve) => {
    r.guestWire.once('close', resolve).once('end', () => r.guestWire.destroy());
  });
});
