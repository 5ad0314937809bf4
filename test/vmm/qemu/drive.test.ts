import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SquibError } from '../../../src/base/errors.ts';
import { DRIVES_MAX, Drives } from '../../../src/vmm/qemu/drive.ts';
import { Qmp } from '../../../src/vmm/qemu/qmp.ts';
import type { Drive } from '../../../src/vmm/resource/drive.ts';
import { helperPath, skipReason } from '../native/built.ts';

const skip = skipReason('pass-fd');
const dir = await mkdtemp(join(tmpdir(), 'squib-drive-'));
after(() => rm(dir, { recursive: true }));
const image = join(dir, 'image');
await writeFile(image, 'image');

interface Command {
  readonly execute: string;
  readonly id: number;
  readonly arguments: Record<string, unknown>;
}

/** A QEMU that answers what `refuse` does not name, on a real unix socket: pass-fd needs one. */
async function fakeQemu(refuse: (command: Command) => boolean = () => false) {
  const path = join(dir, `qmp-${Math.random().toString(36).slice(2)}`);
  const server = createServer().listen(path);
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const ours = connect(path);
  const [theirs] = await accepted;
  server.close();
  const seen: Command[] = [];
  let held = '';
  theirs.setEncoding('utf8').on('data', (text: string) => {
    held += text;
    for (let end = held.indexOf('\n'); end >= 0; end = held.indexOf('\n')) {
      const command = JSON.parse(held.slice(0, end)) as Command;
      held = held.slice(end + 1);
      seen.push(command);
      const refused = refuse(command);
      const answer = refused ? { error: { class: 'GenericError', desc: 'no' } } : { return: {} };
      theirs.write(`${JSON.stringify({ ...answer, id: command.id })}\n`);
      if (command.execute !== 'device_del' || refused) continue;
      theirs.write(
        `${JSON.stringify({ event: 'DEVICE_DELETED', data: { device: command.arguments['id'] } })}\n`,
      );
    }
  });
  theirs.write('{"QMP":{}}\n');
  const qmp = new Qmp(ours);
  await qmp.negotiate();
  seen.length = 0;
  const fd = () => (ours as unknown as { _handle: { fd: number } })._handle.fd;
  const drives = new Drives(qmp, fd, helperPath('pass-fd'));
  const verbs = () => seen.map((command) => command.execute);
  const close = () => {
    qmp.close();
    theirs.destroy();
  };
  return { qmp, drives, seen, verbs, fd, close };
}

const drive = (driveId: string, over: Partial<Drive> = {}): Drive => ({
  driveId,
  pathOnHost: image,
  isReadOnly: true,
  serial: driveId,
  ...over,
});

const cause = (code: string) => (error: unknown) =>
  error instanceof SquibError &&
  error.code === code &&
  /drive \w+ \(.*\) cannot be plugged/.test(error.message);

test('an image that cannot be used never reaches QEMU, and its id is free again', { skip }, async () => {
  const { drives, verbs, close } = await fakeQemu();
  execFileSync('mkfifo', [join(dir, 'fifo')]);
  const bad: [Partial<Drive>, string][] = [
    [{ pathOnHost: join(dir, 'none') }, 'not-found'],
    [{ pathOnHost: join(image, 'x') }, 'failed-precondition'],
    [{ pathOnHost: dir }, 'invalid-argument'],
    [{ pathOnHost: dir, isReadOnly: false }, 'failed-precondition'],
    [{ pathOnHost: join(dir, 'fifo') }, 'invalid-argument'],
    [{ pathOnHost: '/dev/null' }, 'invalid-argument'],
  ];
  for (const [over, code] of bad) await assert.rejects(drives.put(drive('a', over)), cause(code), code);
  await assert.rejects(drives.put(drive('a b')), { code: 'invalid-argument' });
  assert.deepEqual(verbs(), []);
  await drives.put(drive('a'));
  close();
});

test('plugs in three steps and unplugs in three', { skip }, async () => {
  const { drives, seen, verbs, close } = await fakeQemu();
  await drives.put(drive('ro'));
  await drives.put(drive('rw', { isReadOnly: false, serial: 'scratch' }));
  await drives.remove('ro');
  const plug = ['add-fd', 'blockdev-add', 'device_add'];
  assert.deepEqual(verbs(), [...plug, ...plug, 'device_del', 'blockdev-del', 'remove-fd']);
  assert.deepEqual(seen[0]?.arguments, { 'fdset-id': 1, opaque: 'ro' });
  const access = { 'read-only': false, 'auto-read-only': false, discard: 'unmap' };
  assert.deepEqual(seen[4]?.arguments, {
    driver: 'raw',
    'node-name': 'drive-rw',
    ...access,
    file: { driver: 'file', filename: '/dev/fdset/2', ...access },
  });
  assert.deepEqual(seen[5]?.arguments, {
    driver: 'scsi-hd',
    id: 'rw',
    bus: 'scsi.0',
    channel: 0,
    'scsi-id': 1,
    lun: 0,
    drive: 'drive-rw',
    serial: 'scratch',
  });
  const readOnly = seen[1]?.arguments['file'] as Record<string, unknown>;
  assert.deepEqual([readOnly['read-only'], readOnly['locking']], [true, 'off']);
  assert.deepEqual(seen[8]?.arguments, { 'fdset-id': 1 });
  close();
});

for (const [step, undone] of [
  ['add-fd', []],
  ['blockdev-add', ['remove-fd']],
  ['device_add', ['blockdev-del', 'remove-fd']],
] as const) {
  test(`a refused ${step} is taken back`, { skip }, async () => {
    let refusing = true;
    const { drives, verbs, close } = await fakeQemu((command) => refusing && command.execute === step);
    await assert.rejects(drives.put(drive('a')), cause('internal'));
    const upTo = ['add-fd', 'blockdev-add', 'device_add'];
    assert.deepEqual(verbs(), [...upTo.slice(0, upTo.indexOf(step) + 1), ...undone]);
    refusing = false;
    await drives.put(drive('a'));
    close();
  });
}

test('many at once: the wire stays in order, targets are distinct, the limit holds', { skip }, async () => {
  const { drives, seen, close } = await fakeQemu();
  const ids = Array.from({ length: DRIVES_MAX }, (_, n) => `d${n}`);
  await Promise.all(ids.map((id) => drives.put(drive(id))));
  const targets = seen.filter((command) => command.execute === 'device_add');
  assert.equal(new Set(targets.map((command) => command.arguments['scsi-id'])).size, DRIVES_MAX);
  await assert.rejects(drives.put(drive('more')), { code: 'resource-exhausted' });
  await drives.remove('d3');
  await drives.put(drive('again'));
  assert.equal(seen.at(-1)?.arguments['scsi-id'], 3);
  close();
});

test('an id in use and an unknown one are refused', { skip }, async () => {
  const { drives, close } = await fakeQemu();
  const first = drives.put(drive('a'));
  await assert.rejects(drives.put(drive('a')), { code: 'already-exists' });
  await assert.rejects(drives.remove('a'), { code: 'failed-precondition' });
  await first;
  await assert.rejects(drives.remove('b'), { code: 'not-found' });
  const removing = drives.remove('a');
  await assert.rejects(drives.remove('a'), { code: 'failed-precondition' });
  await removing;
  await assert.rejects(drives.remove('a'), { code: 'not-found' });
  close();
});

test('a refused unplug leaves the drive plugged', { skip }, async () => {
  let refusing = true;
  const { drives, close } = await fakeQemu((command) => refusing && command.execute === 'device_del');
  await drives.put(drive('a'));
  await assert.rejects(drives.remove('a'), { code: 'internal' });
  await assert.rejects(drives.put(drive('a')), { code: 'already-exists' });
  refusing = false;
  await drives.remove('a');
  close();
});

test('a helper that is missing or fails is named', async () => {
  const { qmp, fd, close } = await fakeQemu();
  await assert.rejects(
    new Drives(qmp, fd, join(dir, 'none')).put(drive('a')),
    (error: SquibError) =>
      error.code === 'failed-precondition' && /none cannot be run/.test(String(error.cause)),
  );
  const failing = join(dir, 'failing');
  await writeFile(failing, '#!/bin/sh\necho broken >&2\nexit 1\n', { mode: 0o755 });
  await assert.rejects(new Drives(qmp, fd, failing).put(drive('a')), (error: SquibError) =>
    /ended with 1: broken/.test(String(error.cause)),
  );
  close();
});

test('no descriptor of an image stays open', { skip }, async () => {
  const { drives, close } = await fakeQemu((command) => command.execute === 'device_add');
  const before = (await readdir('/proc/self/fd')).length;
  for (let n = 0; n < 5; n++) await assert.rejects(drives.put(drive('a')));
  assert.ok((await readdir('/proc/self/fd')).length <= before);
  close();
});
