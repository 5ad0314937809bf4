import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, test } from 'node:test';
import { sleep } from '../../../src/base/deadline.ts';
import { SquibError } from '../../../src/base/errors.ts';
import { openOutput } from '../../../src/shim/io/output.ts';
import { OutputRelay } from '../../../src/shim/io/output-relay.ts';

const dir = mkdtempSync(join(tmpdir(), 'squib-output-'));
after(() => rmSync(dir, { recursive: true }));
let serial = 0;

function fifo(): string {
  const path = join(dir, `fifo${++serial}`);
  execFileSync('mkfifo', [path]);
  return path;
}

const openReader = (path: string) => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);

function read(fd: number): string {
  const buffer = Buffer.alloc(1 << 20);
  try {
    return buffer.toString('utf8', 0, readSync(fd, buffer));
  } catch {
    return '(nothing yet)';
  }
}

test('a scheme that is not served and a path that is no path are refused by name', () => {
  for (const target of ['binary:///usr/bin/nerdctl?x=y', 'http://x/y', 'relative', '']) {
    assert.throws(
      () => openOutput(target),
      (thrown) =>
        thrown instanceof SquibError && thrown.code === 'unimplemented' && thrown.message.includes(target),
    );
  }
  assert.throws(() => openOutput('/no/such/dir/file'), /output "\/no\/such\/dir\/file" cannot be opened/);
});

test('opening a FIFO never waits for a reader, and knows whether there is one', async () => {
  const path = fifo();
  const output = openOutput(path);
  assert.equal(output.hasReader(), false);
  output.stream.write('kept');
  await sleep(20);
  assert.equal(output.hasReader(), false);
  const reader = openReader(path);
  assert.equal(output.hasReader(), true);
  assert.equal(read(reader), 'kept', 'asking lost nothing');
  closeSync(reader);
  assert.equal(output.hasReader(), false);
  output.stream.write('no EPIPE');
  await sleep(20);
  assert.equal(output.stream.destroyed, false);
  rmSync(path);
  assert.equal(output.hasReader(), false, 'also when the path is gone');
  output.close();
  output.close();
  assert.equal(output.hasReader(), false);
});

test('a plain file is appended to', async () => {
  const path = join(dir, 'file');
  for (const [target, text] of [
    [path, 'one '],
    [`file://${path}`, 'two'],
  ] as const) {
    const output = openOutput(target);
    output.stream.write(text);
    await sleep(20);
    output.close();
  }
  assert.equal(readFileSync(path, 'utf8'), 'one two');
});

test('a reset of the guest ends the relay with what came before it', async () => {
  const path = fifo();
  const reader = openReader(path);
  const guest = new PassThrough();
  const relay = new OutputRelay(guest, openOutput(path));
  guest.write('before');
  await sleep(20);
  guest.destroy(new SquibError('unavailable', 'the VM is gone'));
  await relay.drained();
  assert.equal(read(reader), 'before');
  assert.equal(read(reader), '', 'and EOF');
  closeSync(reader);
});

test('a target that breaks does not hold up the guest', async () => {
  const guest = new PassThrough();
  const output = openOutput(fifo());
  const relay = new OutputRelay(guest, output);
  output.stream.destroy(new Error('EIO'));
  await sleep(10);
  for (let i = 0; i < 100; i++) {
    if (!guest.write(Buffer.alloc(65_536))) await once(guest, 'drain');
  }
  guest.end();
  await relay.drained();
});

test('the descriptors are given back', async () => {
  const count = () =>
    execFileSync('ls', [`/proc/${process.pid}/fd`])
      .toString()
      .split('\n').length;
  await sleep(50);
  const before = count();
  for (let i = 0; i < 20; i++) {
    const output = openOutput(fifo());
    output.hasReader();
    output.close();
  }
  for (let i = 0; count() > before && i < 50; i++) await sleep(20);
  assert.ok(count() <= before, `${before} became ${count()}`);
  assert.ok(existsSync(dir));
});
