import { deepEqual, equal, rejects, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STREAM_BACKLOG_BYTES_MAX, StreamReader } from '../../src/ttrpc/stream-reader.ts';

const decoder = {
  name: 't',
  decode: (bytes: Uint8Array) => {
    if (bytes[0] === 0xff) throw new Error('bad');
    return Buffer.from(bytes).toString();
  },
};
const item = (text: string) => Uint8Array.from(Buffer.from(text));

function reader() {
  const state = { gaveUp: 0 };
  return { state, stream: new StreamReader('s/m', decoder, () => state.gaveUp++) };
}

describe('a stream whose reader is slow', () => {
  it('holds so much and then refuses, by bytes', () => {
    const { stream } = reader();
    stream.push(new Uint8Array(STREAM_BACKLOG_BYTES_MAX / 2));
    throws(() => stream.push(new Uint8Array(STREAM_BACKLOG_BYTES_MAX / 2)), {
      code: 'resource-exhausted',
      message: /s\/m: 1 messages wait/,
    });
  });

  it('counts empty messages too', () => {
    const { stream } = reader();
    let held = 0;
    throws(
      () => {
        for (; held < 1e6; held++) stream.push(new Uint8Array(0));
      },
      { code: 'resource-exhausted' },
    );
    equal(held > 10_000 && held < 100_000, true, String(held));
  });

  it('takes more once something was read', async () => {
    const { stream } = reader();
    for (let n = 0; n < 20; n++) {
      stream.push(new Uint8Array(STREAM_BACKLOG_BYTES_MAX / 2));
      await stream.next();
    }
  });
});

describe('a stream that fails', () => {
  it('gives what came before, the error once, then the end', async () => {
    const { stream } = reader();
    stream.push(item('a'));
    stream.finish(new Error('gone'));
    deepEqual(await stream.next(), { done: false, value: 'a' });
    await rejects(stream.next(), { message: 'gone' });
    deepEqual(await stream.next(), { done: true, value: undefined });
  });

  it('ends at a message that does not decode', async () => {
    const { stream, state } = reader();
    stream.push(Uint8Array.of(0xff));
    stream.push(item('after'));
    await rejects(stream.next(), { code: 'data-loss' });
    deepEqual(await stream.next(), { done: true, value: undefined });
    equal(state.gaveUp, 1);
  });
});

describe('a stream', () => {
  it('serves readers that wait, in order', async () => {
    const { stream } = reader();
    const waiting = [stream.next(), stream.next(), stream.next()];
    stream.push(item('a'));
    stream.push(item('b'));
    stream.finish();
    deepEqual(await Promise.all(waiting), [
      { done: false, value: 'a' },
      { done: false, value: 'b' },
      { done: true, value: undefined },
    ]);
  });

  it('is given up by leaving the loop, and drops what it held', async () => {
    const { stream, state } = reader();
    stream.push(item('a'));
    stream.push(item('b'));
    for await (const got of stream) {
      equal(got, 'a');
      break;
    }
    equal(state.gaveUp, 1);
    deepEqual(await stream.next(), { done: true, value: undefined });
  });
});
