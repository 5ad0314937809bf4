import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const QUICKJS = join(ROOT, 'build/quickjs');
const STEPS = 100_000;

function missing(): string | undefined {
  if (!existsSync(QUICKJS)) return `no ${QUICKJS}: run tools/setup`;
  return spawnSync('gcc', ['--version']).error ? 'no gcc' : undefined;
}

describe('the engine’s allocator', { skip: missing() }, () => {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'squib-heap-'));
    const sources = [join(ROOT, 'guest/heap.c'), join(ROOT, 'test/guest/heap-check.c')];
    const flags = [
      '-O1',
      '-g',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-fsanitize=undefined',
      '-fno-sanitize-recover',
    ];
    execFileSync('gcc', [...flags, '-isystem', QUICKJS, '-o', join(dir, 'heap-check'), ...sources]);
  });
  after(() => rmSync(dir, { recursive: true }));

  for (const seed of ['1', '2', `${Date.now()}`]) {
    it(`keeps every block whole and apart, seed ${seed}`, () => {
      const run = spawnSync(join(dir, 'heap-check'), [seed, `${STEPS}`], { encoding: 'utf8' });
      assert.equal(run.stdout + run.stderr, 'ok\n');
      assert.equal(run.status, 0);
    });
  }
});
