import assert from 'node:assert/strict';
import { type Duplex, duplexPair } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { SquibError } from '../../../src/base/errors.ts';
import { Qmp } from '../../../src/vmm/qemu/qmp.ts';

const GREETING = '{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22}},"capabilities":[]}}\r\n';

interface Command {
  readonly execute: string;
  readonly id: number;
  readonly arguments?: unknown;
}

/** A QEMU that answers by `answer`; undefined: not at all. */
function fakeQemu(answer: (command: Command, wire: Duplex) => object | undefined, greet = true) {
  const [ours, theirs] = duplexPair();
  const seen: Command[] = [];
  let held = '';
  theirs.setEncoding('utf8').on('data', (text: string) => {
    held += text;
    for (let end = held.indexOf('\n'); end >= 0; end = held.indexOf('\n')) {
      const command = JSON.parse(held.slice(0, end)) as Command;
      held = held.slice(end + 1);
      seen.push(command);
      const reply = answer(command, theirs);
      if (reply !== undefined) theirs.write(`${JSON.stringify({ id: command.id, ...reply })}\r\n`);
    }
  });
  if (greet) theirs.write(GREETING);
  return { ours, theirs, seen };
}

const ok = () => ({ return: {} });
const code = (expected: string) => (error: unknown) => error instanceof SquibError && error.code === expected;

test('breaches end the connection and fail everything', async () => {
  const breaches = [
    GREETING, // a second one
    'garbage\n',
    '{"return":{},"id":99}\n',
    '{"return":{},"id":0}\n',
    '{"return":{}}\n',
  ];
  for (const breach of breaches) {
    const { ours, theirs } = fakeQemu(() => undefined);
    const qmp = new Qmp(ours);
    const pending = qmp.execute('query-status');
    const event = qmp.event('STOP', () => true, 1000);
    event.catch(() => {});
    theirs.write(breach);
    await assert.rejects(pending, code('data-loss'), breach);
    await assert.rejects(event, code('data-loss'), breach);
    await assert.rejects(qmp.execute('stop'), code('data-loss'), breach);
    await assert.rejects(
      qmp.event('STOP', () => true, 1000),
      code('data-loss'),
    );
    assert.equal(ours.destroyed, true);
  }
});

test('a reply before the greeting is a breach', async () => {
  const { ours, theirs } = fakeQemu(() => undefined, false);
  const qmp = new Qmp(ours);
  theirs.write('{"return":{},"id":1}\n');
  await assert.rejects(qmp.negotiate(1000), code('data-loss'));
});

test('no greeting, no reply and no event are deadlines', async () => {
  const silent = new Qmp(fakeQemu(() => undefined, false).ours);
  await assert.rejects(silent.negotiate(20), code('deadline-exceeded'));
  const { ours } = fakeQemu(() => undefined);
  const qmp = new Qmp(ours);
  await assert.rejects(qmp.execute('stop', undefined, 20), code('deadline-exceeded'));
  await assert.rejects(
    qmp.event('STOP', () => true, 20),
    code('deadline-exceeded'),
  );
});

test('a reply after its deadline is dropped and the next command still works', async () => {
  const { ours, theirs } = fakeQemu((command) => (command.execute === 'slow' ? undefined : ok()));
  const qmp = new Qmp(ours);
  await assert.rejects(qmp.execute('slow', undefined, 20), code('deadline-exceeded'));
  theirs.write('{"return":"late","id":1}\r\n');
  assert.deepEqual(await qmp.execute('fast'), {});
});

test('the end of the wire fails what is pending with the reason', async () => {
  const { ours, theirs } = fakeQemu(() => undefined);
  const qmp = new Qmp(ours, () => 'Kernel panic');
  const pending = qmp.execute('stop');
  theirs.end();
  await assert.rejects(pending, { code: 'unavailable', message: /QEMU is gone: Kernel panic/ });
  await assert.rejects(qmp.execute('stop'), code('unavailable'));
});

test('an error of the wire is kept as the cause', async () => {
  const { ours } = fakeQemu(() => undefined);
  const qmp = new Qmp(ours);
  const pending = qmp.execute('stop');
  ours.destroy(new Error('EPIPE'));
  await assert.rejects(pending, (error: SquibError) => (error.cause as Error).message === 'EPIPE');
});

test('negotiates, then answers find their command though they come out of order', async () => {
  const late: object[] = [];
  const { ours, seen } = fakeQemu((command, wire) => {
    if (command.execute === 'qmp_capabilities') return ok();
    late.push({ id: command.id, return: command.execute });
    if (late.length === 3) for (const reply of late.reverse()) wire.write(`${JSON.stringify(reply)}\n`);
    return undefined;
  });
  const qmp = new Qmp(ours);
  assert.equal(await qmp.negotiate(), '7.2.22');
  const answers = await Promise.all([qmp.execute('a'), qmp.execute('b', { x: 1 }), qmp.execute('c')]);
  assert.deepEqual(answers, ['a', 'b', 'c']);
  assert.deepEqual(seen[2], { execute: 'b', arguments: { x: 1 }, id: 3 });
});

test('a refusal carries QEMU’s words', async () => {
  const { ours } = fakeQemu(() => ({ error: { class: 'DeviceNotFound', desc: "Device 'x' not found" } }));
  await assert.rejects(new Qmp(ours).execute('device_del', { id: 'x' }), {
    code: 'internal',
    message: "QEMU refused device_del: Device 'x' not found (DeviceNotFound)",
  });
});

test('an event is waited for by name and data', async () => {
  const { ours, theirs } = fakeQemu(ok);
  const qmp = new Qmp(ours);
  const event = qmp.event('DEVICE_DELETED', (data) => data['device'] === 'b', 1000);
  for (const [name, device] of [
    ['DEVICE_DELETED', 'a'],
    ['STOP', 'b'],
    ['DEVICE_DELETED', 'b'],
  ]) {
    theirs.write(`${JSON.stringify({ event: name, data: { device } })}\n`);
  }
  assert.deepEqual(await event, { device: 'b' });
});

test('refuses more commands under way than the limit', async () => {
  const { ours } = fakeQemu(() => undefined);
  const qmp = new Qmp(ours);
  const pending = Array.from({ length: 64 }, () => qmp.execute('x'));
  await assert.rejects(qmp.execute('y'), code('resource-exhausted'));
  qmp.close();
  for (const outcome of await Promise.allSettled(pending)) assert.equal(outcome.status, 'rejected');
});

test('a line written by somebody else has the wire for itself until its reply', async () => {
  const { ours, seen } = fakeQemu(ok);
  const qmp = new Qmp(ours);
  await qmp.negotiate();
  const order: string[] = [];
  const passed = qmp.executeBy('add-fd', { 'fdset-id': 1 }, async (line) => {
    assert.equal(ours.writableLength, 0);
    assert.ok(!line.includes('\n'));
    order.push('passing');
    await delay(20);
    assert.equal(seen.length, 1, 'a command slipped in');
    ours.write(`${line}\n`);
  });
  const second = qmp.executeBy('add-fd', { 'fdset-id': 2 }, async (line) => {
    order.push('second');
    ours.write(`${line}\n`);
  });
  const other = qmp.execute('query-status').then(() => order.push('other'));
  await Promise.all([passed, second, other]);
  assert.deepEqual(order, ['passing', 'second', 'other']);
  assert.deepEqual(
    seen.map((command) => command.execute),
    ['qmp_capabilities', 'add-fd', 'add-fd', 'query-status'],
  );
});

test('a failed send fails its command only and gives the wire back', async () => {
  const { ours } = fakeQemu(ok);
  const qmp = new Qmp(ours);
  const failed = qmp.executeBy('add-fd', {}, () => Promise.reject(new SquibError('internal', 'no helper')));
  await assert.rejects(failed, { message: 'no helper' });
  assert.deepEqual(await qmp.execute('query-status'), {});
});
