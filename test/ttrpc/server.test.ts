import { deepEqual, equal, rejects, throws } from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, describe, it } from 'node:test';
import { SquibError } from '../../src/base/errors.ts';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import { Client } from '../../src/ttrpc/client.ts';
import { FRAME_RESPONSE, type Frame, FrameDecoder } from '../../src/ttrpc/frame.ts';
import { decodeResponse } from '../../src/ttrpc/message.ts';
import { type CallContext, Server, serverStream, unary } from '../../src/ttrpc/server.ts';
import { requestFrame } from './recorder.ts';
import { concat, text } from './vectors.ts';
import { connected, settled, Text } from './wire.ts';

const dir = mkdtempSync(join(tmpdir(), 'squib-ttrpc-'));
after(() => rmSync(dir, { recursive: true }));
let sockets = 0;

/** A listening server with service `s`, and a raw connection to it. */
async function listening(methods: Parameters<Server['register']>[1], logger: Logger = silentLogger) {
  const path = join(dir, `${++sockets}.sock`);
  const server = new Server({ logger });
  server.register('s', methods);
  await server.listen({ path });
  return { server, path };
}

async function raw(path: string): Promise<{ socket: Socket; frames: Frame[] }> {
  const socket = connect(path);
  const decoder = new FrameDecoder();
  const frames: Frame[] = [];
  socket.on('data', (chunk: Uint8Array) => frames.push(...decoder.push(chunk)));
  socket.on('error', () => {});
  await once(socket, 'connect');
  return { socket, frames };
}

function reason(context: CallContext | undefined): string {
  return (context?.signal.reason as SquibError | undefined)?.code ?? 'not aborted';
}

const echo = unary(Text, Text, async (value) => value);
const never = (seen: CallContext[]) =>
  unary(Text, Text, (_value, context) => {
    seen.push(context);
    return new Promise((_, reject) => {
      context.signal.addEventListener('abort', () => reject(context.signal.reason));
    });
  });

describe('a hostile client', () => {
  it('that breaks the protocol loses its connection, others keep theirs', async () => {
    const seen: CallContext[] = [];
    const warned: string[] = [];
    const { server, path } = await listening(
      { Echo: echo, Wait: never(seen) },
      { ...silentLogger, warn: (message) => warned.push(message) },
    );
    const good = new Client(connect(path));
    equal(await good.call('s', 'Echo', Text, Text, 'a'), 'a');
    const { socket } = await raw(path);
    socket.write(concat(requestFrame(1, { method: 'Wait' }), requestFrame(1)));
    await once(socket, 'close');
    equal(reason(seen[0]), 'unavailable');
    equal(warned.length, 1);
    equal(warned[0]?.includes('an odd number above 1 expected'), true);
    equal(await good.call('s', 'Echo', Text, Text, 'b'), 'b');
    equal(server.connections, 1);
    good.close();
    await server.close();
  });

  it('that never reads is no longer read from, and loses nothing when it does', async () => {
    const big = 'x'.repeat(200_000);
    let served = 0;
    const { server, path } = await listening({
      Big: unary(Text, Text, async () => {
        served++;
        return big;
      }),
    });
    const { socket, frames } = await raw(path);
    socket.pause();
    const count = 500;
    for (let n = 0; n < count; n++)
      socket.write(requestFrame(2 * n + 1, { method: 'Big', payload: new Uint8Array(1000) }));
    let before: number;
    do {
      before = served;
      for (let n = 0; n < 5; n++) await settled();
    } while (served !== before);
    equal(served < count, true, `${served} of ${count} answers were made for a client that reads none`);
    socket.resume();
    while (frames.length < count) await once(socket, 'data');
    equal(new Set(frames.map((frame) => frame.stream)).size, count);
    equal(
      frames.every((frame) => decodeResponse(frame.data).payload.length === big.length),
      true,
    );
    socket.destroy();
    await server.close();
  });

  it('that goes away aborts its handlers', async () => {
    const seen: CallContext[] = [];
    const { server, path } = await listening({ Wait: never(seen) });
    for (const leave of [(s: Socket) => s.end(), (s: Socket) => s.destroy()]) {
      const { socket } = await raw(path);
      socket.write(requestFrame(1, { method: 'Wait' }));
      while (seen.length === 0) await settled();
      leave(socket);
      const { signal } = seen.pop() as CallContext;
      if (!signal.aborted) await once(signal, 'abort');
      equal((signal.reason as SquibError).code, 'unavailable');
    }
    await settled();
    equal(server.connections, 0);
    await server.close();
  });

  it('that ends its side of a stream that may be half open aborts its handlers', async () => {
    const seen: CallContext[] = [];
    const { server, wires } = connected({ Wait: never(seen) });
    const client = wires[1] as Duplex;
    client.write(requestFrame(1, { method: 'Wait' }));
    while (seen.length === 0) await settled();
    client.end();
    await settled();
    equal(reason(seen[0]), 'unavailable');
    equal(client.readableEnded, true);
    await server.close();
  });

  it('an oversized request is answered, and the connection survives', async () => {
    const { server, path } = await listening({ Echo: echo });
    const { socket, frames } = await raw(path);
    const head = Buffer.from('0050000000000001' + '0100', 'hex');
    socket.write(
      concat(head, new Uint8Array(0x50_0000), requestFrame(3, { method: 'Echo', payload: text('hi') })),
    );
    while (frames.length < 2) await once(socket, 'data');
    deepEqual(
      frames.map((frame) => [frame.stream, frame.type, decodeResponse(frame.data).status?.code]),
      [
        [1, FRAME_RESPONSE, 8],
        [3, FRAME_RESPONSE, undefined],
      ],
    );
    socket.destroy();
    await server.close();
  });
});

describe('what a handler does wrong is the answer', () => {
  const { client, server } = connected({
    Throws: unary(Text, Text, async () => {
      throw new SquibError('failed-precondition', 'not now', { cause: new Error('busy') });
    }),
    ThrowsAtOnce: unary(Text, Text, () => {
      throw new Error('bug');
    }),
    BadAnswer: unary(Text, Text, async () => 'bad write'),
    Echo: echo,
    Stream: serverStream(Text, Text, async function* () {
      yield 'a';
      throw new SquibError('aborted', 'half way');
    }),
  });
  after(() => server.close());
  const call = (method: string, value = '') => client.call('s', method, Text, Text, value);

  it('a rejection with its code and causes', async () => {
    await rejects(call('Throws'), { code: 'failed-precondition', message: 'not now: busy' });
  });
  it('an exception', async () => {
    await rejects(call('ThrowsAtOnce'), { code: 'unknown', message: 'bug' });
  });
  it('an answer that does not encode', async () => {
    await rejects(call('BadAnswer'), { code: 'unknown', message: 'does not encode' });
  });
  it('a request that does not decode', async () => {
    await rejects(call('Echo', 'bad read'), { message: 'does not decode' });
  });
  it('an unknown method, an unknown service', async () => {
    await rejects(call('Nope'), { code: 'unimplemented', message: 's/Nope is not served here' });
    await rejects(client.call('x', 'Echo', Text, Text, ''), { code: 'unimplemented' });
    await rejects(call('constructor'), { code: 'unimplemented' });
  });
  it('a stream that breaks off', async () => {
    const got: string[] = [];
    await rejects(
      async () => {
        for await (const item of client.stream('s', 'Stream', Text, Text, '')) got.push(item);
      },
      { code: 'aborted', message: 'half way' },
    );
    deepEqual(got, ['a']);
  });
  it('a unary call of a method that streams', async () => {
    await rejects(call('Stream'), { code: 'invalid-argument' });
  });
});

describe('Server', () => {
  it("tells the handler when the caller's time is over, and answers so", async () => {
    const seen: CallContext[] = [];
    const { client, server } = connected({
      Wait: never(seen),
      Sleep: unary(Text, Text, async (_value, { signal }) => {
        await once(new EventTarget(), 'x', { signal });
        return '';
      }),
    });
    const wire = (method: string) =>
      client.call('s', method, Text, Text, '', { timeoutMs: 30 }).catch((error: SquibError) => error.code);
    equal(await wire('Wait'), 'deadline-exceeded');
    await settled();
    equal(reason(seen[0]), 'deadline-exceeded');
    equal(await wire('Sleep'), 'deadline-exceeded');
    await server.close();
    client.close();
  });

  it('answers the deadline itself for a handler that only forwards its signal', async () => {
    const { server, path } = await listening({
      Sleep: unary(Text, Text, async (_value, { signal }) => {
        await once(new EventTarget(), 'x', { signal });
        return '';
      }),
    });
    const { socket, frames } = await raw(path);
    socket.write(requestFrame(1, { method: 'Sleep', timeoutNanos: 5e6 }));
    await once(socket, 'data');
    equal(decodeResponse((frames[0] as Frame).data).status?.code, 4);
    socket.destroy();
    await server.close();
  });

  it('passes service, method and metadata on', async () => {
    const seen: CallContext[] = [];
    const { client, server } = connected({
      Ask: unary(Text, Text, async (_value, context) => {
        seen.push(context);
        return '';
      }),
    });
    const metadata = [{ key: 'containerd-namespace-ttrpc', value: 'default' }];
    await client.call('s', 'Ask', Text, Text, '', { metadata });
    deepEqual([seen[0]?.service, seen[0]?.method, seen[0]?.metadata], ['s', 'Ask', metadata]);
    await server.close();
  });

  it('runs handlers side by side', async () => {
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { client, server } = connected({
      Slow: unary(Text, Text, async () => {
        await gate;
        return 'slow';
      }),
      Fast: unary(Text, Text, async () => 'fast'),
    });
    const slow = client.call('s', 'Slow', Text, Text, '');
    equal(await client.call('s', 'Fast', Text, Text, ''), 'fast');
    release();
    equal(await slow, 'slow');
    await server.close();
  });

  it('asks a stream for no more than the peer takes, and stops it when the peer goes', async () => {
    let made = 0;
    let ended = false;
    const { server, path } = await listening({
      Endless: serverStream(Text, Text, async function* () {
        try {
          for (;;) {
            made++;
            yield 'x'.repeat(100_000);
          }
        } finally {
          ended = true;
        }
      }),
    });
    const { socket } = await raw(path);
    socket.pause();
    socket.write(requestFrame(1, { method: 'Endless' }, 1));
    await settled();
    await settled();
    equal(made > 0 && made < 50, true, String(made));
    socket.destroy();
    while (!ended) await settled();
    await server.close();
  });

  it('lets given answers out when it closes', async () => {
    const { server, path } = await listening({
      Last: unary(Text, Text, async () => 'x'.repeat(3_000_000)),
    });
    const client = new Client(connect(path));
    const answer = client.call('s', 'Last', Text, Text, '');
    while (server.connections === 0) await settled();
    await settled();
    await Promise.all([server.close(), server.close()]);
    equal((await answer).length, 3_000_000);
    await rejects(client.call('s', 'Last', Text, Text, ''), { code: 'unavailable' });
  });

  it('closes in time on a peer that does not read', async () => {
    const { server, path } = await listening({ Last: unary(Text, Text, async () => 'x'.repeat(3_000_000)) });
    const { socket } = await raw(path);
    socket.pause();
    socket.write(requestFrame(1, { method: 'Last' }));
    await settled();
    const before = Date.now();
    await server.close();
    equal(Date.now() - before < 3000, true);
    socket.destroy();
  });

  it('refuses what comes after close, a taken path, a service twice', async () => {
    const { server, path } = await listening({ Echo: echo });
    throws(() => server.register('s', {}), { code: 'already-exists' });
    const other = new Server({ logger: silentLogger });
    await rejects(other.listen({ path }), { code: 'unavailable', message: new RegExp(path) });
    await other.close();
    await server.close();
    await rejects(server.listen({ path }), { code: 'failed-precondition' });
    const client = new Client(connect(path));
    await rejects(client.call('s', 'Echo', Text, Text, ''), { code: 'unavailable' });
  });
});
