import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { FifoLogger } from '../../src/base/log-fifo.ts';

const dir = mkdtempSync(join(tmpdir(), 'squib-log-'));
after(() => rmSync(dir, { recursive: true }));
let serial = 0;

function fifo(): { path: string; read: () => string[]; close: () => void } {
  const path = join(dir, `log${++serial}`);
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const read = () => {
    const buffer = Buffer.alloc(1 << 20);
    let length = 0;
    try {
      for (;;) length += readSync(fd, buffer, length, buffer.length - length, null);
    } catch {
      return buffer.toString('utf8', 0, length).split('\n').filter(Boolean);
    }
  };
  return { path, read, close: () => closeSync(fd) };
}

const logger = (path: string, level: 'debug' | 'warn' = 'warn') =>
  new FifoLogger({ path, level, fields: { container_id: 'c1' } });

test('a missing FIFO, a full one and a cyclic field never fail', async () => {
  const missing = logger(join(dir, 'missing'));
  missing.error('lost');
  await missing.flush();
  const { path, read, close } = fifo();
  const log = logger(path);
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;
  log.error('cyclic', cyclic);
  for (let i = 0; i < 2000; i++) log.error(`line ${i} ${'x'.repeat(100)}`);
  await log.flush();
  for (const line of read()) JSON.parse(line);
  log.error('afterwards');
  await log.flush();
  assert.match(read().join(), /afterwards/);
  log.close();
  close();
});

test('lines are JSON with level, time, fields and message; those below the level are none', async () => {
  const { path, read, close } = fifo();
  const log = logger(path);
  log.info('quiet');
  log.warn('loud\nand clear', { exec_id: 'e' });
  await log.flush();
  log.setLevel('debug');
  log.debug('heard');
  await log.flush();
  const [first, second, ...rest] = read().map((line) => JSON.parse(line));
  assert.deepEqual(rest, []);
  assert.match(first.time, /^20\d\d-/);
  assert.deepEqual(
    { ...first, time: '' },
    { level: 'warn', time: '', container_id: 'c1', exec_id: 'e', msg: 'loud\nand clear' },
  );
  assert.equal(second.msg, 'heard');
  log.close();
  close();
});

test('a line longer than a pipe takes in one piece is cut', async () => {
  const { path, read, close } = fifo();
  const log = logger(path);
  log.warn('x'.repeat(10_000));
  log.warn('next');
  await log.flush();
  const lines = read();
  assert.equal(lines.length, 2);
  assert.ok((lines[0] ?? '').length < 4096);
  assert.equal(JSON.parse(lines[1] ?? '').msg, 'next');
  log.close();
  close();
});
