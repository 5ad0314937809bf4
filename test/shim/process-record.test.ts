import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatRecord, isRunning, parseRecord, recordProcess } from '../../src/shim/process-record.ts';

test('a text that is no record is none', () => {
  for (const text of ['', '1', ' 1 2', '0 5', '-1 5', '1 x', '1 2 3', '99999999999 1', 'a b']) {
    assert.equal(parseRecord(text), undefined, JSON.stringify(text));
  }
});

test('a process is recognised until it ends, a later one with its id never', async () => {
  // The name holds what /proc/<pid>/stat is parsed by.
  const dir = mkdtempSync(join(tmpdir(), 'squib-record-'));
  const program = join(dir, 'a) R 1 2');
  copyFileSync('/bin/sleep', program);
  const child = spawn(program, ['100'], { stdio: 'ignore' });
  await once(child, 'spawn');
  rmSync(dir, { recursive: true });
  const record = recordProcess(child.pid as number);
  assert.ok(record);
  assert.deepEqual(parseRecord(formatRecord(record)), record);
  assert.ok(isRunning(record));
  assert.equal(isRunning({ ...record, startTime: `${Number(record.startTime) + 1}` }), false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal(isRunning(record), false);
});

test('our own start time is that of the kernel', () => {
  assert.ok(isRunning(recordProcess(process.pid) ?? assert.fail()));
  assert.equal(recordProcess(0x7fff_fff0), undefined);
});
