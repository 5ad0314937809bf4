import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Channel } from '../../src/agent/channel.ts';
import { Containers } from '../../src/agent/containers.ts';
import { ControlStream } from '../../src/agent/control.ts';
import { EVENTS_MAX, Events } from '../../src/agent/events.ts';
import { Loop } from '../../src/agent/loop.ts';
import { Reaper } from '../../src/agent/reaper.ts';
import { Service } from '../../src/agent/service.ts';
import { AGENT_METHODS, AGENT_SERVICE, ConfigureRequest, Event } from '../../src/proto/agent.ts';
import type { Init } from '../../src/proto/codec.ts';
import type { Call } from '../../src/ttrpc/server-connection.ts';
import type { MuxStream } from '../../src/vsock/stream.ts';
import { FakeKernel } from '../fake/kernel.ts';
import { FakeWire, Receiver } from './fake-wire.ts';

const RNDRESEEDCRNG = 0x5207;

/** A call whose answer is kept. */
class FakeCall implements Call {
  readonly metadata = [];
  readonly timeoutNanos = 0;
  readonly service: string;
  open = true;
  streaming = false;
  answer: Uint8Array | undefined;
  error: unknown;
  readonly sent: Uint8Array[] = [];
  onClosed?: () => void;
  readonly method: string;
  readonly payload: Uint8Array;

  constructor(method: string, payload: Uint8Array = new Uint8Array(0), service = AGENT_SERVICE) {
    this.method = method;
    this.payload = payload;
    this.service = service;
  }
  reply(payload: Uint8Array): void {
    this.answer = payload;
  }
  fail(error: unknown): void {
    this.error = error;
  }
  send(payload: Uint8Array): void {
    this.sent.push(payload);
  }
  end(): void {}
}

function agent() {
  const fake = new FakeKernel();
  const { kernel } = fake;
  const loop = new Loop(kernel);
  const reaper = new Reaper(kernel, loop);
  const events = new Events();
  const channel = new Channel(kernel, loop, 3, { accept: () => undefined, lost: () => {} });
  const containers = new Containers({ kernel, loop, reaper, events, channel, prepare: () => {} });
  let down = false;
  const service = new Service({
    kernel,
    containers,
    events,
    bootTimes: { startedMs: 7.5, readyMs: 9 },
    shutdown: (reply) => {
      down = true;
      reply();
    },
  });
  const call = (method: string, payload?: Uint8Array, name?: string) => {
    const made = new FakeCall(method, payload, name);
    service.call(made);
    return made;
  };
  return { fake, call, service, events, isDown: () => down };
}

const configure = (init: Init<ConfigureRequest>) => ConfigureRequest.encode(init);

test('what is refused', () => {
  const { call, fake } = agent();
  const refuses = (code: string, message: RegExp, ...args: Parameters<typeof call>) =>
    assert.throws(
      () => call(...args),
      (e: { code: string; message: string }) => {
        assert.equal(e.code, code, e.message);
        assert.match(e.message, message);
        return true;
      },
    );
  refuses('unimplemented', /Nope/, 'Nope');
  refuses('unimplemented', /other\/Pids/, 'Pids', undefined, 'other');
  refuses('unimplemented', /toString/, 'toString');
  for (const method of Object.keys(AGENT_METHODS)) {
    if (method === 'Events' || method === 'Shutdown') continue;
    refuses('invalid-argument', /are no squib\.agent\.v1\./, method, Uint8Array.of(0xff));
  }
  refuses('not-found', /container "" does not exist/, 'Pids');
  refuses(
    'invalid-argument',
    /signal 65/,
    'SignalProcess',
    AGENT_METHODS.SignalProcess.request.encode({ signal: 65 }),
  );
  refuses('invalid-argument', /entropy of 31 bytes/, 'Configure', configure({ entropy: new Uint8Array(31) }));
  refuses(
    'invalid-argument',
    /entropy of 513 bytes/,
    'Configure',
    configure({ entropy: new Uint8Array(513) }),
  );
  fake.on('sethostname', -22);
  refuses(
    'invalid-argument',
    /set host name "x": sethostname x: EINVAL/,
    'Configure',
    configure({ hostname: 'x' }),
  );
  refuses('invalid-argument', /answers with a stream/, 'Events');
});

test('Configure: clock, entropy that counts at once, host name; only what was sent', () => {
  const { call, fake } = agent();
  const answer = call(
    'Configure',
    configure({ timeSeconds: 5, timeNanos: 6, entropy: new Uint8Array(32), hostname: 'h' }),
  );
  assert.equal(fake.of('clock_settime').length, 1);
  assert.deepEqual(
    fake
      .of('ioctl')
      .map(({ args }) => args[1])
      .slice(-1),
    [RNDRESEEDCRNG],
  );
  assert.equal(fake.of('ioctl').length, 2);
  assert.equal(fake.of('sethostname').length, 1);
  const response = AGENT_METHODS.Configure.response.decode(answer.answer as Uint8Array);
  assert.match(response.agentVersion, /^\d+\.\d+\.\d+$/);
  const empty = agent();
  empty.call('Configure', configure({}));
  for (const name of ['clock_settime', 'ioctl', 'sethostname'] as const)
    assert.equal(empty.fake.of(name).length, 0);
});

test('Shutdown answers through the end of the machine', () => {
  const { call, isDown } = agent();
  assert.deepEqual(call('Shutdown').answer, new Uint8Array(0));
  assert.ok(isDown());
});

test('events: kept in order while nobody listens, the oldest go first, one listener at a time', () => {
  const events = new Events();
  for (let i = 0; i < EVENTS_MAX + 3; i++) events.emit({ exit: { container: 'c', status: i } });
  const first = new FakeCall('Events');
  first.streaming = true;
  events.listen(first);
  const statuses = first.sent.map((bytes) => Event.decode(bytes).exit?.status);
  assert.deepEqual([statuses.length, statuses[0], statuses.at(-1)], [EVENTS_MAX, 3, EVENTS_MAX + 2]);
  const second = new FakeCall('Events');
  second.streaming = true;
  assert.throws(() => events.listen(second), { code: 'failed-precondition' });
  events.emit({ outOfMemory: { container: 'o' } });
  assert.equal(Event.decode(first.sent.at(-1) as Uint8Array).outOfMemory?.container, 'o');
  first.onClosed?.();
  events.emit({ outOfMemory: { container: 'later' } });
  events.listen(second);
  assert.equal(Event.decode(second.sent[0] as Uint8Array).outOfMemory?.container, 'later');
});

test('control stream: bytes that are no ttrpc reset it, and the wire lives on', () => {
  const wire = new FakeWire();
  wire.accept = (stream) =>
    new ControlStream(
      stream,
      () => assert.fail('a call'),
      () => {},
    );
  const receiver = new Receiver();
  const stream = wire.connect(1, receiver);
  stream.write(new Uint8Array(10).fill(0xff));
  wire.pass();
  assert.deepEqual(receiver.news, ['opened', 'reset failed']);
  assert.deepEqual(wire.lost, []);
});

test('control stream: an answer longer than the credit goes out as credit comes; half-close ends it', () => {
  const wire = new FakeWire({ hostWindow: 1000 });
  wire.accept = (stream: MuxStream) =>
    new ControlStream(
      stream,
      (call) => call.reply(new Uint8Array(5000).fill(1)),
      () => {},
    );
  const receiver = new Receiver();
  receiver.consuming = false;
  const stream = wire.connect(1, receiver);
  // A request on stream 1 with an empty payload: service "a", method "b".
  stream.write(Uint8Array.from([0, 0, 0, 6, 0, 0, 0, 1, 1, 0, 0x0a, 1, 0x61, 0x12, 1, 0x62]));
  wire.pass();
  assert.equal(receiver.bytes.length, 1000);
  receiver.consuming = true;
  stream.consumed(1000);
  wire.pass();
  assert.ok(receiver.bytes.length > 5000, `${receiver.bytes.length}`);
  stream.shutdown();
  wire.pass();
  assert.equal(stream.state, 'closed');
});
