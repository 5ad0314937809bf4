import { deepEqual, equal, rejects } from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { duplexPair } from 'node:stream';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { SquibError } from '../../src/base/errors.ts';
import { CLIENT_CALLS_MAX, Client } from '../../src/ttrpc/client.ts';
import {
  encodeFrame,
  FRAME_DATA,
  FRAME_DATA_BYTES_MAX,
  FRAME_RESPONSE,
  type Frame,
  FrameDecoder,
} from '../../src/ttrpc/frame.ts';
import { decodeRequest, encodeResponse } from '../../src/ttrpc/message.ts';
import { serverStream, unary } from '../../src/ttrpc/server.ts';
import { concat, text } from './vectors.ts';
import { connected, settled, Text } from './wire.ts';

/** A client whose peer is the test. */
function peer() {
  const [theirs, ours] = duplexPair();
  const requests: Frame[] = [];
  const decoder = new FrameDecoder();
  ours.on('data', (chunk: Uint8Array) => requests.push(...decoder.push(chunk)));
  ours.on('error', () => {});
  const client = new Client(theirs);
  return {
    client,
    requests,
    wire: ours,
    given: theirs,
    call: (value = '', timeoutMs = 5000) => client.call('s', 'm', Text, Text, value, { timeoutMs }),
    answer: (stream: number, payload: string, type = FRAME_RESPONSE, flags = 0) =>
      ours.write(
        encodeFrame(
          { stream, type, flags },
          type === FRAME_RESPONSE
            ? encodeResponse({ status: undefined, payload: text(payload) })
            : text(payload),
        ),
      ),
  };
}

describe('a hostile server', () => {
  const breaches: [string, Uint8Array][] = [
    ['answers on a stream that was never opened', encodeFrame({ stream: 3, type: 2, flags: 0 }, text(''))],
    ['answers on an even stream', encodeFrame({ stream: 0, type: 3, flags: 0 }, text(''))],
    ['does not speak ttrpc', text('HTTP/1.1 400 Bad Request\r\n')],
  ];
  for (const [what, bytes] of breaches)
    it(`that ${what} loses the connection`, async () => {
      const p = peer();
      const call = p.call();
      await settled();
      p.wire.write(bytes);
      await rejects(call, { code: 'unavailable' });
      equal((await p.client.closed)?.code, 'data-loss');
      equal(p.given.destroyed, true);
    });

  it('that answers with what does not decode fails that call alone', async () => {
    const p = peer();
    const calls = [p.call(), p.call(), p.call()];
    await settled();
    p.wire.write(encodeFrame({ stream: 1, type: FRAME_RESPONSE, flags: 0 }, Uint8Array.of(0x0a, 9)));
    p.answer(3, 'bad read');
    p.answer(5, 'fine');
    await rejects(calls[0] as Promise<string>, {
      code: 'data-loss',
      message: /s\/m: 2 bytes are no ttrpc response/,
    });
    await rejects(calls[1] as Promise<string>, {
      code: 'data-loss',
      message: /s\/m: the answer does not decode/,
    });
    equal(await calls[2], 'fine');
  });

  it('that answers a unary call with a stream, or with too much', async () => {
    const p = peer();
    const calls = [p.call(), p.call(), p.call()];
    await settled();
    p.answer(1, 'x', FRAME_DATA);
    const head = Buffer.from('0040000100000003' + '0200', 'hex');
    p.wire.write(concat(head, new Uint8Array(FRAME_DATA_BYTES_MAX + 1)));
    p.answer(5, 'fine');
    await rejects(calls[0] as Promise<string>, { code: 'data-loss' });
    await rejects(calls[1] as Promise<string>, { code: 'resource-exhausted' });
    equal(await calls[2], 'fine');
  });

  it('that answers twice is heard once', async () => {
    const p = peer();
    const call = p.call();
    await settled();
    p.answer(1, 'first');
    p.answer(1, 'second');
    equal(await call, 'first');
    equal(await Promise.race([p.client.closed, settled().then(() => 'open')]), 'open');
  });

  it('that sends a stream faster than it is read ends that stream alone', async () => {
    const p = peer();
    const stream = p.client.stream('s', 'm', Text, Text, '');
    const call = p.call();
    await settled();
    for (let n = 0; n < 5; n++) p.answer(1, 'x'.repeat(2_000_000), FRAME_DATA);
    p.answer(3, 'fine');
    equal(await call, 'fine');
    let read = 0;
    await rejects(
      async () => {
        for await (const _ of stream) read++;
      },
      { code: 'resource-exhausted' },
    );
    equal(read, 4);
  });

  it('any frames end in answers or a lost connection, never in an exception', async () => {
    const heads = fc.record({ stream: fc.nat(6), type: fc.constantFrom(2, 2, 3, 3, 4), flags: fc.nat(7) });
    const frames = fc.array(fc.tuple(heads, fc.uint8Array({ maxLength: 12 })), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(frames, async (sent) => {
        const p = peer();
        const stream = Array.fromAsync(p.client.stream('s', 'm', Text, Text, ''));
        const outcomes = Promise.allSettled([p.call('', 0), p.call('', 0), stream]);
        for (const [head, data] of sent) p.wire.write(encodeFrame(head, data));
        await new Promise(setImmediate);
        p.client.close();
        for (const outcome of await outcomes)
          if (outcome.status === 'rejected') equal(outcome.reason.name, 'SquibError');
      }),
      { numRuns: 300 },
    );
  });

  it('frames of other types are ignored', async () => {
    const p = peer();
    const call = p.call();
    await settled();
    p.wire.write(encodeFrame({ stream: 8, type: 9, flags: 3 }, text('x')));
    p.answer(1, 'fine');
    equal(await call, 'fine');
  });
});

describe('calls that end otherwise', () => {
  it('at their deadline, and the late answer is ignored', async () => {
    const p = peer();
    await rejects(p.call('', 10), { code: 'deadline-exceeded', message: 's/m: no answer within 10 ms' });
    p.answer(1, 'late');
    const next = p.call();
    await settled();
    p.answer(3, 'fine');
    equal(await next, 'fine');
  });

  it('by their signal, before and after they started', async () => {
    const p = peer();
    const abort = new AbortController();
    const call = p.client.call('s', 'm', Text, Text, '', { signal: abort.signal });
    await settled();
    abort.abort();
    await rejects(call, { code: 'canceled' });
    await rejects(p.client.call('s', 'm', Text, Text, '', { signal: abort.signal }), { code: 'canceled' });
    p.answer(1, 'late');
    await settled();
    equal(await Promise.race([p.client.closed, 'open']), 'open');
  });

  it('by close, and later ones at once', async () => {
    const p = peer();
    const calls = [p.call(), p.call()];
    const stream = p.client.stream('s', 'm', Text, Text, '');
    p.client.close();
    p.client.close();
    for (const call of calls)
      await rejects(call, { code: 'unavailable', message: 'the ttrpc client was closed' });
    await rejects(stream.next(), { code: 'unavailable' });
    await rejects(p.call(), { code: 'unavailable' });
    equal(await p.client.closed, undefined);
  });

  it('by the peer, whichever way it goes', async () => {
    for (const go of [
      (p: ReturnType<typeof peer>) => p.wire.end(),
      (p: ReturnType<typeof peer>) => p.wire.destroy(),
    ]) {
      const p = peer();
      const call = p.call();
      await settled();
      go(p);
      await rejects(call, { code: 'unavailable' });
      equal((await p.client.closed)?.code, 'unavailable');
    }
  });

  it('by close while they wait for the wire', async () => {
    const [theirs] = duplexPair({ highWaterMark: 10 });
    const client = new Client(theirs);
    const calls = ['a', 'b'].map((value) => client.call('s', 'm', Text, Text, value, { timeoutMs: 0 }));
    client.close();
    for (const call of calls) await rejects(call, { code: 'unavailable' });
  });

  it('leave neither timer nor listener behind', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const p = peer();
    const { signal } = new AbortController();
    const before = timers();
    const call = p.client.call('s', 'm', Text, Text, '', { signal, timeoutMs: 60_000 });
    equal(timers(), before + 1);
    equal(getEventListeners(signal, 'abort').length, 1);
    p.client.close();
    await rejects(call);
    equal(timers(), before);
    equal(getEventListeners(signal, 'abort').length, 0);
  });

  it('before anything is sent: too large, too many, not encodable', async () => {
    const p = peer();
    await rejects(p.call('x'.repeat(FRAME_DATA_BYTES_MAX)), { code: 'resource-exhausted' });
    await rejects(p.call('bad write'), { message: 'does not encode' });
    const calls = Array.from({ length: CLIENT_CALLS_MAX }, () => p.call('', 0));
    await rejects(p.call(), { code: 'resource-exhausted' });
    await settled();
    p.answer(1, 'done');
    equal(await calls[0], 'done');
    calls.push(p.call('', 0));
    p.client.close();
    const outcomes = await Promise.allSettled(calls);
    equal(
      outcomes.filter((o) => o.status === 'rejected' && (o.reason as SquibError).code === 'unavailable')
        .length,
      CLIENT_CALLS_MAX,
    );
  });
});

describe('Client', () => {
  it('opens odd streams in the order of sending, and says the deadline', async () => {
    const p = peer();
    void p.call('a', 5000).catch(() => {});
    void p.call('b', 0).catch(() => {});
    p.client.stream('s', 'm', Text, Text, 'c');
    await settled();
    deepEqual(
      p.requests.map((frame) => {
        const request = decodeRequest(frame.data);
        return [frame.stream, frame.flags, Buffer.from(request.payload).toString(), request.timeoutNanos];
      }),
      [
        [1, 0, 'a', 5e9],
        [3, 0, 'b', 0],
        [5, 1, 'c', 0],
      ],
    );
    p.client.close();
  });

  it('sends nothing while the wire is full, skips calls given up meanwhile, then goes on in order', async () => {
    const [theirs, ours] = duplexPair({ highWaterMark: 100 });
    const client = new Client(theirs);
    const call = (value: string, timeoutMs: number) =>
      client.call('s', value, Text, Text, 'x'.repeat(200), { timeoutMs }).catch((e: SquibError) => e.code);
    const first = call('first', 5000);
    const second = call('second', 10);
    const third = call('third', 5000);
    equal(await second, 'deadline-exceeded');
    const decoder = new FrameDecoder();
    const methods: [number, string][] = [];
    ours.on('data', (chunk: Uint8Array) => {
      for (const frame of decoder.push(chunk)) {
        methods.push([frame.stream, decodeRequest(frame.data).method]);
        ours.write(encodeFrame({ stream: frame.stream, type: FRAME_RESPONSE, flags: 0 }, new Uint8Array(0)));
      }
    });
    deepEqual(await Promise.all([first, third]), ['', '']);
    deepEqual(methods, [
      [1, 'first'],
      [3, 'third'],
    ]);
    client.close();
  });

  it('reads a stream to its end, with and without a last message', async () => {
    for (const last of [
      (p: ReturnType<typeof peer>) => p.answer(1, '', FRAME_DATA, 5),
      (p: ReturnType<typeof peer>) => p.answer(1, ''),
    ]) {
      const p = peer();
      const stream = p.client.stream('s', 'm', Text, Text, '');
      await settled();
      p.answer(1, 'a', FRAME_DATA);
      p.answer(1, '', FRAME_DATA);
      last(p);
      deepEqual(await Array.fromAsync(stream), ['a', '']);
    }
    const p = peer();
    const stream = p.client.stream('s', 'm', Text, Text, '');
    await settled();
    p.answer(1, 'b', FRAME_DATA, 1);
    deepEqual(await Array.fromAsync(stream), ['b']);
  });

  it('drops what comes for a stream that was left', async () => {
    const { client, server } = connected({
      Count: serverStream(Text, Text, async function* () {
        for (let n = 0; n < 100; n++) yield String(n);
      }),
      Echo: unary(Text, Text, async (value) => value),
    });
    for await (const item of client.stream('s', 'Count', Text, Text, '')) if (item === '3') break;
    equal(await client.call('s', 'Echo', Text, Text, 'still here'), 'still here');
    await server.close();
    client.close();
  });

  it('carries many calls at once, each with its own answer', async () => {
    const { client, server } = connected({
      Echo: unary(Text, Text, async (value) => {
        if (Number(value) % 3 === 0) await settled();
        return value.repeat(200);
      }),
    });
    const values = Array.from({ length: 500 }, (_, n) => String(n));
    const answers = await Promise.all(values.map((value) => client.call('s', 'Echo', Text, Text, value)));
    deepEqual(
      answers,
      values.map((value) => value.repeat(200)),
    );
    await server.close();
    client.close();
  });
});
