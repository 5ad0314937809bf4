import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, test } from 'node:test';
import { sleep } from '../../../src/base/deadline.ts';
import { Input } from '../../../src/shim/io/input.ts';

const dir = mkdtempSync(join(tmpdir(), 'squib-input-'));
after(() => rmSync(dir, { recursive: true }));
let serial = 0;

function fifo(): string {
  const path = join(dir, `fifo${++serial}`);
  execFileSync('mkfifo', [path]);
  return path;
}

const openWriter = (path: string) => openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);

test('what cannot be opened is named, and no descriptor stays', () => {
  assert.throws(() => Input.open('/no/such/fifo'), /stdin "\/no\/such\/fifo" cannot be opened/);
});

test('writers come and go; EOF comes when the keeper is closed and the last of them is gone', async () => {
  const path = fifo();
  const input = Input.open(path);
  const guest = new PassThrough();
  const seen: string[] = [];
  let ended = false;
  guest.on('data', (chunk) => seen.push(String(chunk)));
  guest.on('end', () => {
    ended = true;
  });
  input.relay(guest);
  for (const text of ['first ', 'second ']) {
    const writer = openWriter(path);
    writeSync(writer, text);
    closeSync(writer);
    await sleep(30);
  }
  const last = openWriter(path);
  input.closeKeeper();
  input.closeKeeper();
  writeSync(last, 'third');
  await sleep(30);
  assert.equal(ended, false);
  closeSync(last);
  await sleep(30);
  assert.equal(seen.join(''), 'first second third');
  assert.equal(ended, true);
});

test('what was written before CloseIO is delivered, however slow the guest', async () => {
  const path = fifo();
  const input = Input.open(path);
  const guest = new PassThrough({ highWaterMark: 1024 });
  const writer = openWriter(path);
  const text = 'x'.repeat(60_000);
  writeSync(writer, text);
  closeSync(writer);
  input.closeKeeper();
  input.relay(guest);
  guest.pause();
  await sleep(20);
  let length = 0;
  for await (const chunk of guest) length += chunk.length;
  assert.equal(length, text.length);
});

test('a process that lets go of its stdin makes the writer fail', async () => {
  const path = fifo();
  const input = Input.open(path);
  const guest = new PassThrough();
  input.relay(guest);
  const writer = openWriter(path);
  guest.destroy();
  await sleep(30);
  assert.throws(() => writeSync(writer, 'x'), /EPIPE/);
  closeSync(writer);
  input.close();
});
