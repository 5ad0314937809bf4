import { deepEqual, equal, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SquibError } from '../../src/base/errors.ts';
import {
  encodeFrame,
  FLAG_NO_DATA,
  FLAG_REMOTE_CLOSED,
  FLAG_REMOTE_OPEN,
  FRAME_DATA,
  FRAME_DATA_BYTES_MAX,
  FRAME_REQUEST,
  FRAME_RESPONSE,
} from '../../src/ttrpc/frame.ts';
import { CALLS_MAX, type Call } from '../../src/ttrpc/server-connection.ts';
import { Recorder, requestFrame } from './recorder.ts';
import { concat, golden, text } from './vectors.ts';

const breach = { name: 'SquibError', code: 'data-loss' };

describe('breaches end the connection', () => {
  const cases: [string, (r: Recorder) => void][] = [
    ['an even stream', (r) => r.request(4)],
    ['stream 0', (r) => r.request(0)],
    ['a stream used again', (r) => r.request(3)],
    ['a stream below the last', (r) => r.request(1)],
    ['data on a stream never opened', (r) => r.frame({ stream: 5, type: FRAME_DATA, flags: 0 })],
    ['data on an even stream', (r) => r.frame({ stream: 2, type: FRAME_DATA, flags: 0 })],
    ['bytes that are no ttrpc', (r) => r.connection.receive(text('GET / HTTP/1.1\r\n'))],
  ];
  for (const [what, act] of cases)
    it(what, () => {
      const r = new Recorder();
      let closed = 0;
      r.request(3);
      (r.calls[0] as Call).onClosed = () => closed++;
      throws(() => act(r), breach);
      equal(closed, 1);
      equal(r.connection.active, 0);
      r.request(5);
      equal(r.calls.length, 1);
    });

  it('what came before in the same chunk was served', () => {
    const r = new Recorder({ call: (call) => call.reply(text('ok')) });
    throws(() => r.connection.receive(concat(requestFrame(1), requestFrame(2), requestFrame(3))), breach);
    deepEqual(r.answers, [[1, 0, 'ok']]);
  });
});

describe('faults that end one stream only', () => {
  it('an oversized request is answered and its id is used up', () => {
    const r = new Recorder({ dataBytesMax: 100 });
    r.request(1, { payload: new Uint8Array(101) });
    deepEqual(r.answers, [[1, 8, '']]);
    equal(r.calls.length, 0);
    throws(() => r.request(1), breach);
  });

  it('a request of more than 4 MiB is answered, and the next is served', () => {
    const r = new Recorder();
    const head = Buffer.from('0040000100000001' + '0100', 'hex');
    r.connection.receive(concat(head, new Uint8Array(FRAME_DATA_BYTES_MAX + 1), requestFrame(3)));
    deepEqual(r.answers, [[1, 8, '']]);
    equal(r.calls.length, 1);
  });

  it('a request that does not decode', () => {
    const r = new Recorder();
    r.frame({ stream: 1, type: FRAME_REQUEST, flags: 0 }, Uint8Array.of(0x0a, 5));
    r.request(3);
    deepEqual(r.answers, [[1, 3, '']]);
    equal(r.calls.length, 1);
  });

  it('flags that say open and closed at once', () => {
    const r = new Recorder();
    r.request(1, {}, FLAG_REMOTE_CLOSED | FLAG_REMOTE_OPEN);
    deepEqual(r.answers, [[1, 3, '']]);
  });

  it('one call more than allowed, until another is over', () => {
    const r = new Recorder();
    for (let n = 0; n <= CALLS_MAX; n++) r.request(2 * n + 1);
    equal(r.connection.active, CALLS_MAX);
    deepEqual(r.answers, [[2 * CALLS_MAX + 1, 8, '']]);
    (r.calls[0] as Call).reply(text(''));
    r.request(2 * CALLS_MAX + 3);
    equal(r.connection.active, CALLS_MAX);
    equal(r.answers.length, 2);
  });

  it('data on a unary call', () => {
    const r = new Recorder();
    let closed = 0;
    r.request(1);
    (r.calls[0] as Call).onClosed = () => closed++;
    r.frame({ stream: 1, type: FRAME_DATA, flags: 0 }, text('x'));
    deepEqual([r.answers, closed, r.connection.active], [[[1, 3, '']], 1, 0]);
    (r.calls[0] as Call).reply(text('late'));
    equal(r.answers.length, 1);
  });

  it('data after the caller closed its side', () => {
    const r = new Recorder();
    r.request(1, {}, FLAG_REMOTE_OPEN);
    (r.calls[0] as Call).onData = () => {};
    r.frame({ stream: 1, type: FRAME_DATA, flags: FLAG_REMOTE_CLOSED | FLAG_NO_DATA });
    r.frame({ stream: 1, type: FRAME_DATA, flags: FLAG_NO_DATA });
    deepEqual(r.answers, [[1, 3, '']]);
  });

  it('data for a method that takes one message', () => {
    const r = new Recorder();
    r.request(1, {}, FLAG_REMOTE_OPEN);
    r.frame({ stream: 1, type: FRAME_DATA, flags: 0 }, text('x'));
    deepEqual(r.answers, [[1, 12, '']]);
  });

  it('oversized data', () => {
    const r = new Recorder({ dataBytesMax: 50 });
    r.request(1, {}, FLAG_REMOTE_OPEN);
    (r.calls[0] as Call).onData = () => {};
    r.frame({ stream: 1, type: FRAME_DATA, flags: 0 }, new Uint8Array(51));
    deepEqual(r.answers, [[1, 8, '']]);
  });

  it('a data handler that throws', () => {
    const r = new Recorder();
    r.request(1, {}, FLAG_REMOTE_OPEN);
    (r.calls[0] as Call).onData = () => {
      throw new SquibError('not-found', 'x');
    };
    r.frame({ stream: 1, type: FRAME_DATA, flags: 0 });
    deepEqual(r.answers, [[1, 5, '']]);
  });

  it('a handler that throws, also after its answer', () => {
    const thrower = (answer: boolean) => (call: Call) => {
      if (answer) call.reply(text('ok'));
      throw new Error('bug');
    };
    for (const [answer, code] of [
      [false, 2],
      [true, 0],
    ] as const) {
      const r = new Recorder({ call: thrower(answer) });
      r.request(1);
      equal(r.answers.length, 1);
      equal(r.answers[0]?.[1], code);
    }
  });

  it('an answer over 4 MiB', () => {
    const r = new Recorder();
    r.request(1);
    (r.calls[0] as Call).reply(new Uint8Array(FRAME_DATA_BYTES_MAX));
    r.request(3, {}, FLAG_REMOTE_CLOSED);
    (r.calls[1] as Call).send(new Uint8Array(FRAME_DATA_BYTES_MAX + 1));
    deepEqual(r.answers, [
      [1, 8, ''],
      [3, 8, ''],
    ]);
    equal(r.connection.active, 0);
  });
});

describe('frames to be ignored', () => {
  it('other types, on any stream', () => {
    const r = new Recorder();
    for (const type of [0, FRAME_RESPONSE, 4, 255]) r.frame({ stream: 8, type, flags: 255 }, text('x'));
    r.request(1);
    equal(r.calls.length, 1);
  });

  it('data that crosses with the end of its stream', () => {
    const r = new Recorder();
    r.request(1, {}, FLAG_REMOTE_OPEN);
    (r.calls[0] as Call).reply(text('done'));
    r.frame({ stream: 1, type: FRAME_DATA, flags: 0 }, text('x'));
    deepEqual(r.answers, [[1, 0, 'done']]);
  });

  it('unknown flags', () => {
    const r = new Recorder();
    r.request(1, {}, 0xf8);
    equal(r.calls[0]?.streaming, false);
  });
});

describe('a call that was ended', () => {
  it('refuses a second end', () => {
    const r = new Recorder();
    r.request(1, {}, FLAG_REMOTE_CLOSED);
    const call = r.calls[0] as Call;
    call.end();
    equal(call.open, false);
    for (const act of [
      () => call.reply(text('')),
      () => call.fail('x'),
      () => call.send(text('')),
      () => call.end(),
    ])
      throws(act, { code: 'failed-precondition' });
    equal(r.frames.length, 1);
  });

  it('by the connection takes answers silently, and sends nothing', () => {
    const r = new Recorder();
    let closed = 0;
    r.request(1, {}, FLAG_REMOTE_CLOSED);
    const call = r.calls[0] as Call;
    call.onClosed = () => closed++;
    r.connection.close();
    r.connection.close();
    equal(closed, 1);
    call.send(text('x'));
    call.reply(text('x'));
    call.fail('x');
    equal(r.frames.length, 0);
  });

  it('a unary caller gets no stream', () => {
    const r = new Recorder();
    r.request(1);
    throws(() => (r.calls[0] as Call).send(text('x')), { code: 'failed-precondition' });
    throws(() => (r.calls[0] as Call).end(), { code: 'failed-precondition' });
    equal((r.calls[0] as Call).open, true);
  });
});

describe('calls', () => {
  it('carry what was sent, and the answer is as the golden bytes say', () => {
    const out: Uint8Array[] = [];
    const r = new Recorder({ send: (bytes) => out.push(bytes) });
    r.connection.receive(golden('request-connect'));
    const call = r.calls[0] as Call;
    deepEqual([call.service, call.method, call.streaming], ['containerd.task.v2.Task', 'Connect', false]);
    call.reply(Uint8Array.of(8, 7));
    r.connection.receive(golden('request-state'));
    deepEqual(r.calls[1]?.timeoutNanos, 2e9);
    r.calls[1]?.fail(new SquibError('not-found', 'no such task'));
    deepEqual(out[0], golden('response-ok'));
    equal(
      Buffer.from(out[1] as Uint8Array)
        .subarray(8)
        .equals(golden('response-not-found').subarray(8)),
      true,
    );
  });

  it('are answered in any order', () => {
    const r = new Recorder();
    for (const stream of [1, 3, 9]) r.request(stream);
    equal(r.connection.active, 3);
    for (const at of [2, 0, 1]) r.calls[at]?.reply(text(String(at)));
    deepEqual(r.answers, [
      [9, 0, '2'],
      [1, 0, '0'],
      [3, 0, '1'],
    ]);
    equal(r.connection.active, 0);
  });

  it('stream to the caller', () => {
    const r = new Recorder();
    r.request(1, {}, FLAG_REMOTE_CLOSED);
    const call = r.calls[0] as Call;
    call.send(text('a'));
    call.send(text(''));
    call.end();
    deepEqual(
      r.frames.map((f) => [f.type, f.flags, Buffer.from(f.data).toString()]),
      [
        [FRAME_DATA, 0, 'a'],
        [FRAME_DATA, 0, ''],
        [FRAME_DATA, FLAG_REMOTE_CLOSED | FLAG_NO_DATA, ''],
      ],
    );
  });

  it('stream from the caller, an empty message and a last one with data included', () => {
    const got: string[] = [];
    const r = new Recorder({
      call: (call) => {
        call.onData = (payload) => got.push(Buffer.from(payload).toString());
        call.onHalfClosed = () => {
          got.push('end');
          call.reply(text('ok'));
        };
      },
    });
    r.request(1, {}, FLAG_REMOTE_OPEN);
    r.frame({ stream: 1, type: FRAME_DATA, flags: 0 }, text('a'));
    r.frame({ stream: 1, type: FRAME_DATA, flags: 0 });
    r.frame({ stream: 1, type: FRAME_DATA, flags: FLAG_NO_DATA });
    r.frame({ stream: 1, type: FRAME_DATA, flags: FLAG_REMOTE_CLOSED }, text('b'));
    deepEqual(got, ['a', '', 'b', 'end']);
    deepEqual(r.answers, [[1, 0, 'ok']]);
  });

  it('may close the connection under the rest of a chunk', () => {
    const r: Recorder = new Recorder({ call: () => r.connection.close() });
    r.connection.receive(concat(requestFrame(1), requestFrame(2)));
    equal(r.connection.active, 0);
  });
});

describe('any bytes', () => {
  const heads = fc.record({
    stream: fc.nat(9),
    type: fc.constantFrom(1, 1, 1, 2, 3, 3, 4),
    flags: fc.nat(7),
  });

  it('end in answers or a breach, and no call is left behind', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(heads, fc.uint8Array({ maxLength: 12 }))), fc.nat(3), (frames, how) => {
        const lost = new Set<Call>();
        const r = new Recorder({
          call: (call) => {
            r.calls.push(call);
            call.onClosed = () => lost.add(call);
            if (how === 1) call.reply(call.payload);
            if (how === 2) call.onData = (data) => call.streaming && call.send(data);
            if (how === 3) call.fail('no');
          },
        });
        try {
          for (const [head, data] of frames) r.connection.receive(encodeFrame(head, data));
        } catch (thrown) {
          if (!(thrown instanceof SquibError) || thrown.code !== 'data-loss') throw thrown;
        }
        r.connection.close();
        equal(r.connection.active, 0);
        for (const call of r.calls) equal(call.open, false);
      }),
      { numRuns: 2000 },
    );
  });
});
