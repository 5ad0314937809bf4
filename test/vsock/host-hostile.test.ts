import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { withDeadline } from '../../src/base/deadline.ts';
import { SquibError } from '../../src/base/errors.ts';
import { encodeControl } from '../../src/vsock/frame.ts';
import { SerialHost } from '../../src/vsock/host.ts';
import type { HostStream } from '../../src/vsock/host-stream.ts';
import { socketPair } from '../fake/socket-pair.ts';
import { dataFrame } from './recorder.ts';

const HELLO = encodeControl({ type: 'hello', version: 1 });
const hasCode = (code: string) => (error: unknown) => error instanceof SquibError && error.code === code;

/** A host whose guest is played by the test, byte by byte. */
async function rawGuest(t: TestContext, window?: number): Promise<{ host: SerialHost; guest: Socket }> {
  const [wire, guest] = await socketPair();
  t.after(() => {
    wire.destroy();
    guest.destroy();
  });
  guest.on('error', () => {});
  const host = SerialHost.attach(wire, window === undefined ? {} : { window });
  return { host, guest };
}

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

/** Bytes that live objects and buffers hold. */
function liveBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function codeOf(settled: Promise<Error | undefined>): Promise<string | undefined> {
  const error = await withDeadline(settled, 5000, 'the end of the connection');
  assert.ok(error === undefined || error instanceof SquibError);
  return error?.code;
}

test('garbage from the first byte ends the connection, the wire and every stream', async (t) => {
  const { host, guest } = await rawGuest(t);
  const stream = host.connect(1);
  const failed = once(stream, 'error');
  guest.write(Buffer.alloc(65_536));
  assert.equal(await codeOf(host.closed), 'data-loss');
  await assert.rejects(host.ready, hasCode('unavailable'));
  const [error] = await failed;
  assert.equal(error.code, 'unavailable');
  assert.match(String(error.cause), /frame begins with 0x00000000/);
  guest.resume();
  await withDeadline(once(guest, 'end'), 5000, "the end of the guest's wire");
  assert.throws(() => host.connect(2), hasCode('unavailable'));
});

test('random garbage after HELLO never hangs the host', async (t) => {
  for (let round = 0; round < 20; round++) {
    const { host, guest } = await rawGuest(t);
    guest.write(HELLO);
    await host.ready;
    guest.end(randomBytes(10_000));
    const code = await codeOf(host.closed);
    assert.ok(code === 'data-loss' || code === 'unavailable', String(code));
    guest.destroy();
  }
});

test('a guest that never speaks and goes: ready rejects with unavailable', async (t) => {
  const { host, guest } = await rawGuest(t);
  guest.destroy();
  await assert.rejects(withDeadline(host.ready, 5000, 'ready'), hasCode('unavailable'));
  assert.equal(await codeOf(host.closed), 'unavailable');
});

test('the wire ends amid a frame: every stream fails with unavailable', async (t) => {
  const { host, guest } = await rawGuest(t);
  const streams = [host.connect(1), host.connect(2000)];
  const failures = streams.map((stream) => once(stream, 'error'));
  guest.write(HELLO);
  guest.write(encodeControl({ type: 'accept', stream: 1, window: 10 }));
  await once(streams[0] as HostStream, 'connect');
  guest.end(dataFrame(1, 100).subarray(0, 5));
  for (const [error] of await Promise.all(failures)) assert.equal(error.code, 'unavailable');
});

test('a guest that sends beyond its window is cut off; what waits is the window', async (t) => {
  const { host, guest } = await rawGuest(t, 1000);
  const stream = host.connect(2000);
  const failed = once(stream, 'error');
  guest.write(HELLO);
  guest.write(encodeControl({ type: 'accept', stream: 1, window: 10 }));
  guest.write(dataFrame(1, 1000));
  await once(stream, 'connect');
  guest.write(dataFrame(1, 1));
  assert.equal(await codeOf(host.closed), 'data-loss');
  stream.resume();
  const [error] = await failed;
  assert.match(String(error.cause), /credit for 0/);
});

test('OPEN after OPEN by a guest that reads nothing: the host gives up with bounded memory', async (t) => {
  const { host, guest } = await rawGuest(t);
  guest.pause();
  guest.write(HELLO);
  let id = 2;
  const flood = (): void => {
    while (!guest.destroyed && guest.writableLength < 65_536) {
      guest.write(encodeControl({ type: 'open', stream: id, port: 5, window: 0 }));
      id += 2;
    }
  };
  guest.on('drain', flood);
  flood();
  assert.equal(await codeOf(host.closed), 'data-loss');
  assert.ok(id / 2 < 200_000, `${id / 2} frames`);
  guest.destroy();
});

test('a wire that hands bytes over amid a write to it is read in order', async () => {
  const [wire, guest] = duplexPair();
  const host = SerialHost.attach(wire);
  guest.on('data', () => {});
  guest.write(HELLO);
  await host.ready;
  let answered = false;
  guest.on('data', () => {
    if (answered) return;
    answered = true;
    guest.write(encodeControl({ type: 'reset', stream: 1, reason: 'refused' }));
  });
  const [error] = await once(host.connect(9), 'error');
  assert.equal(error.code, 'not-found');
  host.close();
});

test('one-byte frames do not multiply the memory of a window', { timeout: 60_000 }, async (t) => {
  const window = 262_144;
  const { host, guest } = await rawGuest(t, window);
  const stream = host.connect(2000);
  guest.write(HELLO);
  guest.write(encodeControl({ type: 'accept', stream: 1, window: 10 }));
  await once(stream, 'connect');
  const frames = Buffer.concat(Array.from({ length: 4096 }, () => dataFrame(1, 1)));
  const before = liveBytes();
  for (let i = 0; i < window / 4096; i++) {
    if (!guest.write(frames)) await once(guest, 'drain');
  }
  guest.write(encodeControl({ type: 'shutdown', stream: 1 }));
  await new Promise((resolve) => setTimeout(resolve, 200));
  const grown = liveBytes() - before;
  // One object per byte would be 50 MB.
  assert.ok(grown < 16 * window, `${grown} bytes for ${window}`);
  let bytes = 0;
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await once(stream, 'end');
  assert.equal(bytes, window);
  stream.on('error', () => {});
  host.close();
});
