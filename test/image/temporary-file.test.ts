import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryPath } from '../../src/image/temporary-file.ts';

test('what dead processes left is removed, what living ones make and other files are not', () => {
  const dir = mkdtempSync(join(tmpdir(), 'squib-temporary-'));
  try {
    const dead = spawnSync('true').pid;
    const kept = ['image', `image.tmp-${process.ppid}`, 'image.tmp-x', `other.tmp-${dead}`];
    for (const name of [...kept, `image.tmp-${dead}`, `image.tmp-${process.pid}`])
      writeFileSync(join(dir, name), '');
    assert.equal(temporaryPath(join(dir, 'image')), join(dir, `image.tmp-${process.pid}`));
    assert.deepEqual(readdirSync(dir).sort(), kept.sort());
    assert.throws(() => temporaryPath(join(dir, 'missing', 'image')), { code: 'ENOENT' });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
