import assert from 'node:assert/strict';
import { test } from 'node:test';
import { awaitDisks, DISK_WAIT_MS, listDisks } from '../../src/agent/disks.ts';
import { Loop } from '../../src/agent/loop.ts';
import { SquibError } from '../../src/base/errors.ts';
import { FakeKernel } from '../fake/kernel.ts';

const [ENOENT, ENODEV] = [2, 19];

/** A kernel with these block devices: name to vpd_pg80, or an errno of reading it. */
class Disks {
  readonly fake = new FakeKernel();
  readonly devices = new Map<string, Uint8Array | number>();
  clock = 0;
  #paths = new Map<number, string>();
  #listed = false;

  constructor() {
    const { fake } = this;
    fake.on('openat', (call) => {
      const fd = fake.fd();
      this.#paths.set(fd, call.texts[1] as string);
      return fd;
    });
    fake.on('getdents64', ({ args: [, p = 0] }) => {
      this.#listed = !this.#listed;
      if (!this.#listed) return 0;
      [...this.devices.keys()].forEach((name, i) => {
        fake.kernel.w16(p + i * 32 + 16, 32);
        fake.kernel.bytes(p + i * 32 + 19, name.length + 1).set(new TextEncoder().encode(`${name}\0`));
      });
      return this.devices.size * 32;
    });
    fake.on('read', ({ args: [fd = 0, p = 0] }) => {
      const page = this.devices.get(this.#paths.get(fd)?.split('/')[3] ?? '') ?? 0;
      if (typeof page === 'number') return page;
      fake.kernel.bytes(p, page.length).set(page);
      return page.length;
    });
    fake.on('clock_gettime', ({ args: [, p = 0] }) => {
      fake.kernel.w64(p, Math.floor(this.clock / 1000));
      fake.kernel.w64(p + 8, (this.clock % 1000) * 1e6);
      return 0;
    });
    fake.on('epoll_pwait', ({ args: [, , , ms = 0] }) => {
      this.clock += ms;
      return 0;
    });
  }

  plug(name: string, serial: string): void {
    this.devices.set(name, Uint8Array.from([0, 0x80, 0, serial.length, ...Buffer.from(serial)]));
  }
}

test('disks that are coming, going, or have no serial are left out', () => {
  const disks = new Disks();
  disks.plug('sda', 'one');
  disks.devices.set('sdb', -ENODEV);
  disks.devices.set('sdc', -ENOENT);
  disks.devices.set('sdd', Uint8Array.of(0, 0x80, 0, 0));
  disks.plug('loop0', 'no');
  disks.plug('sde', '  padded  ');
  assert.deepEqual(
    [...listDisks(disks.fake.kernel)],
    [
      ['one', '/dev/sda'],
      ['padded', '/dev/sde'],
    ],
  );
  assert.deepEqual([...listDisks(new FakeKernel().on('openat', -ENOENT).kernel)], []);
});

test('a disk that never comes: a named error at the deadline, and what there was', () => {
  const disks = new Disks();
  disks.plug('sda', 'other');
  const loop = new Loop(disks.fake.kernel);
  const results: unknown[] = [];
  awaitDisks(disks.fake.kernel, loop, ['other', 'gone'], (found) => results.push(found));
  for (let i = 0; results.length === 0; i++) {
    assert.ok(i < 100_000);
    loop.turn(false);
  }
  const [error] = results;
  assert.ok(error instanceof SquibError);
  assert.equal(error.code, 'deadline-exceeded');
  assert.match(error.message, /no disk with serial "gone" within 10000 ms; there are: other$/);
  assert.ok(disks.clock >= DISK_WAIT_MS && disks.clock < DISK_WAIT_MS + 100, `${disks.clock}`);
  loop.turn(true);
  assert.equal(results.length, 1);
});

test('a disk that comes later is found, and the loop was free meanwhile', () => {
  const disks = new Disks();
  const loop = new Loop(disks.fake.kernel);
  const answers: unknown[] = [];
  awaitDisks(disks.fake.kernel, loop, ['late'], (result) => answers.push(result));
  let other = 0;
  loop.after(5, () => {
    other = disks.clock;
  });
  for (let i = 0; i < 5; i++) loop.turn(false);
  assert.deepEqual(answers, []);
  assert.ok(other >= 5);
  disks.plug('sdq', 'late');
  for (let i = 0; i < 3; i++) loop.turn(false);
  assert.deepEqual([...(answers.at(-1) as unknown as Map<string, string>)], [['late', '/dev/sdq']]);
});

test('timers: called off, in time, and one may start another', () => {
  const disks = new Disks();
  const loop = new Loop(disks.fake.kernel);
  const calls: string[] = [];
  const cancel = loop.after(1, () => calls.push('cancelled'));
  loop.after(3, () => calls.push('late'));
  loop.after(1, () => {
    calls.push('first');
    loop.after(0, () => calls.push('next'));
  });
  cancel();
  for (let i = 0; i < 6 && calls.length < 3; i++) loop.turn(false);
  assert.deepEqual(calls, ['first', 'next', 'late']);
});
