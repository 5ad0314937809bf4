import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { Libc } from '../../src/image/directory/libc.ts';
import { withDirectoryLock } from '../../src/image/image-lock.ts';

const libc = await Libc.load();
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-lock-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Another process with the lock, for as long as its shell script runs. */
async function holder(script: string): Promise<ReturnType<typeof spawn>> {
  const child = spawn('flock', [dir, 'sh', '-c', `echo locked; ${script}`, 'sh', dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return child;
}

test('a directory that was replaced meanwhile is not taken for the locked one', async () => {
  await holder('sleep 0.2; mv "$1" "$1.old"; mkdir "$1"');
  try {
    assert.throws(() => withDirectoryLock(dir, libc, false, () => assert.fail('ran')), { code: 'aborted' });
  } finally {
    rmSync(`${dir}.old`, { recursive: true });
  }
});

test('a directory that may be made is made again after its removal', async () => {
  await holder('sleep 0.2; rmdir "$1"');
  assert.equal(
    withDirectoryLock(dir, libc, true, () => existsSync(dir)),
    true,
  );
});

test('it waits for as long as another process has it', async () => {
  await holder('exec sleep 0.3');
  const before = performance.now();
  assert.equal(
    withDirectoryLock(dir, libc, false, () => 'done'),
    'done',
  );
  assert.ok(performance.now() - before > 200);
});

test('the lock ends with the work, however that ends', () => {
  assert.throws(
    () =>
      withDirectoryLock(dir, libc, false, () => {
        throw new Error('work');
      }),
    /work/,
  );
  assert.equal(
    withDirectoryLock(dir, libc, false, () => withOther()),
    'free elsewhere',
  );
});

function withOther(): string {
  const other = mkdtempSync(join(tmpdir(), 'squib-lock2-'));
  try {
    return withDirectoryLock(other, libc, false, () => 'free elsewhere');
  } finally {
    rmSync(other, { recursive: true, force: true });
  }
}
