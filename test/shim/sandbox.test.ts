import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import type { SquibError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Event } from '../../src/proto/agent.ts';
import { recordProcess } from '../../src/shim/process-record.ts';
import { Sandbox } from '../../src/shim/sandbox.ts';
import { Timeline } from '../../src/shim/timeline.ts';
import { FakeEngine, type FakeEngineOptions } from '../fake/engine.ts';

function boot(options: FakeEngineOptions = {}, bootTimeoutMs = 5000) {
  const engine = new FakeEngine(options);
  const losses: SquibError[] = [];
  const events: Event[] = [];
  const sandbox = new Sandbox({
    engine,
    vm: {
      id: 'vm',
      machine: { vcpuCount: 1, memSizeMib: 128 },
      boot: { kernelImagePath: '/k', initrdPath: '/i', bootArgs: '' },
    },
    bootTimeoutMs,
    logger: silentLogger,
    timeline: new Timeline(),
    onEvent: (event) => events.push(event),
    onLost: (reason) => losses.push(reason),
  });
  return { engine, sandbox, losses, events, vm: () => engine.launched[0] ?? assert.fail('not launched') };
}

test('a launch that fails is the error of every verb, and loss is told once', async () => {
  const { sandbox, losses } = boot({ failLaunch: true });
  await assert.rejects(sandbox.agent(), /the guest kernel is not at \/nowhere/);
  await assert.rejects(sandbox.pid(), /the guest kernel/);
  await assert.rejects(sandbox.plug('/x', true), /the guest kernel/);
  await sandbox.stop();
  assert.equal(losses.length, 1);
});

test('a mute guest ends at the deadline with its console, and its VMM is ended', async () => {
  const { sandbox, losses, vm } = boot({ mute: true }, 200);
  await assert.rejects(
    sandbox.agent(),
    /did not come up: .*first frame did not come within 200 ms; end of its console:\nthe last words/,
  );
  await vm().exited;
  assert.equal(recordProcess(vm().pid), undefined);
  assert.equal(losses.length, 1);
});

test('a VMM that dies during the boot is noticed at once', async () => {
  const { sandbox, vm } = boot({ mute: true }, 60_000);
  process.kill(await sandbox.pid(), 'SIGKILL');
  const before = Date.now();
  await assert.rejects(sandbox.agent(), /did not come up[\s\S]*the last words/);
  assert.ok(Date.now() - before < 5000);
  await vm().exited;
});

test('a VMM that dies later is one loss that says how', async () => {
  const { sandbox, losses } = boot();
  await sandbox.agent();
  process.kill(await sandbox.pid(), 'SIGKILL');
  for (let i = 0; losses.length === 0 && i < 100; i++) await sleep(20);
  await sleep(400);
  assert.equal(losses.length, 1);
  assert.match(losses[0]?.message ?? '', /ended|gone|unavailable/);
  assert.equal(sandbox.isRunning, false);
});

test('a guest that breaks the protocol loses its machine', async () => {
  const { sandbox, losses, vm } = boot();
  await sandbox.agent();
  vm().guestWire.write(Buffer.alloc(64, 0xff));
  for (let i = 0; losses.length === 0 && i < 100; i++) await sleep(20);
  assert.equal(losses.length, 1);
  await vm().exited;
  assert.equal(recordProcess(vm().pid), undefined);
});

test('a machine that is stopped is no loss, and stops once', async () => {
  const { sandbox, losses, vm } = boot();
  await sandbox.agent();
  await Promise.all([sandbox.stop(), sandbox.stop()]);
  await sleep(400);
  assert.deepEqual(losses, []);
  assert.equal(vm().state, 'stopped');
});

test('disks get names of their own and come off again; ports are never used twice', async () => {
  const { sandbox, vm } = boot();
  const serials = await Promise.all([sandbox.plug('/a', true), sandbox.plug('/b', false)]);
  assert.equal(new Set(serials).size, 2);
  assert.deepEqual(
    [...vm().drives.values()].map(({ pathOnHost, isReadOnly }) => [pathOnHost, isReadOnly]),
    [
      ['/a', true],
      ['/b', false],
    ],
  );
  for (const serial of serials) await sandbox.unplug(serial);
  assert.equal(vm().drives.size, 0);
  assert.notEqual(sandbox.newPort(), sandbox.newPort());
  await sandbox.stop();
  await sandbox.unplug('disk1');
});

test('events arrive in the order of the agent', async () => {
  const { sandbox, events, vm } = boot();
  await sandbox.agent();
  for (const container of ['a', 'b', 'c']) vm().guest.emit({ outOfMemory: { container } });
  for (let i = 0; events.length < 3 && i < 100; i++) await sleep(10);
  assert.deepEqual(
    events.map((event) => event.outOfMemory?.container),
    ['a', 'b', 'c'],
  );
  await sandbox.stop();
});
