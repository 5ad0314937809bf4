import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { withDeadline } from '../../src/base/deadline.ts';
import { describe, SquibError } from '../../src/base/errors.ts';
import type { VmConfig } from '../../src/vmm/contract.ts';
import { type QemuEngineOptions, UID_BASE_DEFAULT } from '../../src/vmm/qemu/engine.ts';
import type { QemuVm } from '../../src/vmm/qemu/vm.ts';
import { GUEST_TIMEOUT_MS, type GuestFiles, GuestLines, makeGuest, missing, warnings } from './vmm-guest.ts';

const skip = missing() ?? false;
let guest: GuestFiles;
let descriptors = 0;
const launched: QemuVm[] = [];

async function launch(vm: VmConfig, options: Partial<QemuEngineOptions> = {}): Promise<QemuVm> {
  const started = await guest.engine(options).launch(vm);
  launched.push(started);
  return started;
}

before(async () => {
  if (skip !== false) return;
  guest = await makeGuest();
  descriptors = readdirSync('/proc/self/fd').length;
});

after(async () => {
  await Promise.all(launched.map((vm) => vm.stop())); // what a failed test left
  await guest?.[Symbol.asyncDispose]();
});

const config = (id: string, over: Partial<VmConfig> = {}): VmConfig => ({
  id,
  machine: { vcpuCount: 1, memSizeMib: 128 },
  boot: { kernelImagePath: guest.kernel, initrdPath: guest.initrd, bootArgs: '' },
  ...over,
});

/** Boots a guest, runs `body` on it, and checks that nothing of it is left. */
async function withVm(id: string, body: (vm: QemuVm, lines: GuestLines) => Promise<void>): Promise<void> {
  const vm = await launch(config(id));
  try {
    const lines = new GuestLines(vm.agent);
    assert.equal(await lines.next(), 'hello', vm.consoleTail());
    await body(vm, lines);
  } finally {
    await vm.stop();
  }
  assertGone(vm);
}

function assertGone(vm: QemuVm): void {
  assert.equal(vm.state, 'stopped');
  assert.equal(existsSync(`/proc/${vm.pid}`), false, `pid ${vm.pid} is still there`);
  for (const stream of [vm.agent]) assert.equal(stream.destroyed, true);
}

const exitOf = (vm: QemuVm) => withDeadline(vm.exited, GUEST_TIMEOUT_MS, 'the VMM exit');
const failed = (code: string) => (error: unknown) => error instanceof SquibError && error.code === code;

async function image(name: string, content: string, size = 1 << 20): Promise<string> {
  const path = join(guest.dir, name);
  const bytes = Buffer.alloc(size);
  bytes.write(content);
  await writeFile(path, bytes, { mode: 0o600 });
  return path;
}

test('auto decides once, with one warning at most, and the guest answers', { skip }, async () => {
  const { logger, lines: warned } = warnings();
  const first = await launch(config('auto-1'), { logger });
  const second = await launch(config('auto-2'), { logger });
  for (const vm of [first, second]) {
    const lines = new GuestLines(vm.agent);
    assert.equal(await lines.next(), 'hello', vm.consoleTail());
    assert.equal(await lines.ask('ping'), 'pong');
    assert.equal((await lines.ask('net'))?.trim(), 'lo');
    assert.equal(vm.consoleTail(), '', 'a quiet boot writes nothing');
  }
  assert.ok(warned.length <= 1, warned.join('\n'));
  const uids = [first, second].map(
    ({ pid }) => /^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1],
  );
  assert.deepEqual(uids, [String(UID_BASE_DEFAULT + first.pid), String(UID_BASE_DEFAULT + second.pid)]);
  await Promise.all([first.stop(), second.stop()]);
  assertGone(first);
  assertGone(second);
});

test('QEMU runs with no privilege, no network, filtered, and sees no host file', { skip }, async () => {
  await withVm('jailed', async (vm) => {
    const status = readFileSync(`/proc/${vm.pid}/status`, 'utf8');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
      assert.match(status, new RegExp(`^${set}:\\t0+$`, 'm'));
    }
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^Seccomp:\t2$/m);
    const sees = (path: string) => existsSync(`/proc/${vm.pid}/root${path}`);
    assert.ok(sees('/kernel') && sees('/initrd') && sees('/usr'));
    for (const path of ['/proc', '/root', '/run', '/var', '/tmp', '/etc/passwd', guest.dir])
      assert.ok(!sees(path), path);
    const devices = readFileSync(`/proc/${vm.pid}/net/dev`, 'utf8').trim().split('\n').slice(2);
    assert.equal(devices.length, 1);
    const targets = readFileSync(`/proc/${vm.pid}/mounts`, 'utf8');
    assert.doesNotMatch(targets, / rw,/);
    for (const vmmFd of readdirSync(`/proc/${vm.pid}/fd`)) assert.ok(Number(vmmFd) < 64);
  });
});

test('drives come and go while the guest runs; it finds them by serial', { skip }, async () => {
  const rootfs = await image('rootfs', 'sixteen bytes ro', 1 << 20);
  const scratch = await image('scratch', 'scratch', 2 << 20);
  await withVm('drives', async (vm, lines) => {
    await Promise.all([
      vm.putDrive({ driveId: 'rootfs', pathOnHost: rootfs, isReadOnly: true, serial: 'sq_ro' }),
      vm.putDrive({ driveId: 'scratch', pathOnHost: scratch, isReadOnly: false, serial: 'sq_rw' }),
    ]);
    const answer = await lines.until('disks', (disks) => disks.includes('sq_ro') && disks.includes('sq_rw'));
    const disk = (serial: string) =>
      answer
        .split(' ')
        .find((entry) => entry.includes(serial))
        ?.split(':') ?? [];
    const [ro = '', rw = ''] = [disk('sq_ro')[0], disk('sq_rw')[0]];
    assert.deepEqual(disk('sq_ro').slice(1), ['sq_ro', '2048', '1']);
    assert.deepEqual(disk('sq_rw').slice(1), ['sq_rw', '4096', '0']);
    assert.equal(await lines.ask(`read ${ro}`), 'sixteen bytes ro');
    assert.notEqual(await lines.ask(`write ${ro}`), 'ok');
    assert.equal(await lines.ask(`write ${rw}`), 'ok');
    assert.ok((await readFile(scratch)).toString('latin1').startsWith('written by guest'));
    assert.ok((await readFile(rootfs)).toString('latin1').startsWith('sixteen bytes ro'));
    await vm.removeDrive('rootfs');
    await lines.until('disks', (disks) => !disks.includes('sq_ro') && disks.includes('sq_rw'));
    await vm.putDrive({ driveId: 'rootfs', pathOnHost: rootfs, isReadOnly: true, serial: 'sq_ro2' });
    await lines.until('disks', (disks) => disks.includes('sq_ro2'));
    await assert.rejects(vm.removeDrive('none'), failed('not-found'));
  });
});

test('a drive plugged before the guest is up is there when it comes up', { skip }, async () => {
  const early = await image('early', 'early');
  const vm = await launch(config('early'));
  try {
    await vm.putDrive({ driveId: 'early', pathOnHost: early, isReadOnly: true, serial: 'early' });
    const lines = new GuestLines(vm.agent);
    assert.equal(await lines.next(), 'hello', vm.consoleTail());
    await lines.until('disks', (disks) => disks.includes('early'));
  } finally {
    await vm.stop();
  }
});

test('one read-only image serves two VMs; a writable one has one user', { skip }, async () => {
  const shared = await image('shared', 'shared');
  const drive = (isReadOnly: boolean) => ({ driveId: 'd', pathOnHost: shared, isReadOnly, serial: 'd' });
  const vms = await Promise.all(['share-1', 'share-2'].map((id) => launch(config(id))));
  try {
    await Promise.all(vms.map((vm) => vm.putDrive(drive(true))));
    await Promise.all(vms.map((vm) => vm.removeDrive('d')));
    await vms[0]?.putDrive(drive(false));
    await assert.rejects(vms[1]?.putDrive(drive(false)) as Promise<void>, (error) =>
      /lock/.test(describe(error)),
    );
  } finally {
    await Promise.all(vms.map((vm) => vm.stop()));
  }
});

test('a panic ends the VM at once and its words are in the console tail', { skip }, async () => {
  await withVm('panic', async (vm, lines) => {
    const pending = vm.exited;
    assert.equal(await lines.ask('panic'), undefined, 'the agent stream ends');
    const exit = await withDeadline(pending, GUEST_TIMEOUT_MS, 'the exit');
    assert.match(exit.consoleTail, /Kernel panic - not syncing: Attempted to kill init! exitcode=0x00002a00/);
    assert.equal(vm.state, 'stopped');
    await assert.rejects(
      vm.putDrive({ driveId: 'd', pathOnHost: '/x', isReadOnly: true, serial: 'd' }),
      failed('failed-precondition'),
    );
    await assert.rejects(vm.pause(), failed('failed-precondition'));
  });
});

test('a reboot ends the VM', { skip }, async () => {
  await withVm('reboot', async (vm, lines) => {
    assert.equal(await lines.ask('reboot'), undefined);
    assert.deepEqual([(await exitOf(vm)).code, (await exitOf(vm)).signal], [0, null]);
  });
});

test('a guest whose agent stream ends goes down by itself', { skip }, async () => {
  const vm = await launch(config('hangup'));
  const lines = new GuestLines(vm.agent);
  assert.equal(await lines.next(), 'hello');
  vm.agent.destroy();
  assert.equal((await exitOf(vm)).code, 0);
  await vm.stop();
});

test('kill -9 of the VMM is noticed at once, also by what is under way', { skip }, async () => {
  await withVm('killed', async (vm) => {
    const start = performance.now();
    process.kill(vm.pid, 'SIGKILL');
    const pausing = assert.rejects(vm.pause(), failed('unavailable'));
    const exit = await exitOf(vm);
    assert.deepEqual([exit.code, exit.signal], [null, 'SIGKILL']);
    assert.ok(performance.now() - start < 1000);
    await pausing;
    assert.equal(vm.state, 'stopped');
  });
});

test('a VMM that dies before it takes commands fails the launch with its words', { skip }, async () => {
  const kernelImagePath = join(guest.dir, 'no-kernel');
  await writeFile(kernelImagePath, '\x7fELF, but not really', 'latin1');
  const boot = { kernelImagePath, initrdPath: guest.initrd, bootArgs: '' };
  await assert.rejects(launch(config('broken', { boot })), (error: unknown) => {
    assert.ok(failed('unavailable')(error));
    assert.match(
      describe(error),
      /VM broken did not start: QEMU ended with status 1; .*qemu-system.*kernel/s,
    );
    return true;
  });
});

test('pause stops the guest and resume lets it go on', { skip }, async () => {
  await withVm('pause', async (vm, lines) => {
    await vm.pause();
    assert.equal(vm.state, 'paused');
    await assert.rejects(vm.pause(), failed('failed-precondition'));
    await assert.rejects(vm.removeDrive('d'), failed('failed-precondition'));
    const answer = lines.ask('ping');
    const early = await Promise.race([answer, delay(300, 'none yet')]);
    assert.equal(early, 'none yet');
    await vm.resume();
    assert.equal(await answer, 'pong');
    await vm.pause();
  }); // and a paused VM stops
});

test('a guest that floods its console is bounded and steers no terminal', { skip }, async () => {
  await withVm('console', async (vm, lines) => {
    assert.equal(await lines.ask('escape'), 'ok');
    while (!vm.consoleTail().includes('title')) await delay(20);
    assert.ok(vm.consoleTail().includes('\\x1b[31mred\\x1b]0;title\\x07'), vm.consoleTail());
    assert.equal(await lines.ask('spam'), 'ok');
    const end = Date.now() + GUEST_TIMEOUT_MS;
    while (!vm.consoleTail().includes('last line') && Date.now() < end) await delay(50);
    assert.ok(vm.consoleTail().endsWith('last line\n'));
    assert.ok(vm.consoleTail().length <= 16 * 1024);
  });
});

test('stop is idempotent, at any time, and leaves nothing', { skip }, async () => {
  const vm = await launch(config('stop'));
  await Promise.all([vm.stop(), vm.stop()]);
  await vm.stop();
  assertGone(vm);
  assert.equal((await vm.exited).signal, 'SIGKILL');
});

test('two vCPUs and more memory boot as well', { skip }, async () => {
  const vm = await launch(config('large', { machine: { vcpuCount: 2, memSizeMib: 1024 } }));
  try {
    assert.equal(await new GuestLines(vm.agent).next(), 'hello', vm.consoleTail());
  } finally {
    await vm.stop();
  }
});

test('after all of it this process holds no descriptor and no VMM more than before', { skip }, async () => {
  await delay(100); // handles close on the next turn
  const open = readdirSync('/proc/self/fd').length;
  assert.ok(open <= descriptors, `${open} descriptors, ${descriptors} before`);
  const children = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && parentOf(pid) === process.pid);
  assert.deepEqual(children, []);
});

function parentOf(pid: string): number | undefined {
  try {
    return Number(/^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return undefined; // gone meanwhile
  }
}
