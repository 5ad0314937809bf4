import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readAccelCache, writeAccelCache } from '../../src/vmm/accel-cache.ts';
import type { ProbeResult } from '../../src/vmm/probe.ts';

const dir = await mkdtemp(join(tmpdir(), 'squib-accel-cache-'));
after(() => rm(dir, { recursive: true }));
const path = join(dir, 'run/accel.json');
const SLOW: ProbeResult = { kvm: 'slow', elapsedUs: 1_000_091, tscKhz: 2_600_000, detail: '' };

test('a missing, damaged, foreign or unknown cache means: probe again', async () => {
  assert.equal(await readAccelCache(join(dir, 'none'), 'boot'), undefined);
  assert.equal(await readAccelCache(dir, 'boot'), undefined);
  await mkdir(join(dir, 'run'));
  const good = { format: 1, bootId: 'boot', ...SLOW };
  const bad = [
    '',
    'null',
    '[]',
    '7',
    '{"format":1',
    JSON.stringify({ ...good, bootId: 'another' }),
    JSON.stringify({ ...good, format: 2 }),
    JSON.stringify({ ...good, kvm: 'yes' }),
    JSON.stringify({ ...good, kvm: undefined }),
    JSON.stringify({ ...good, tscKhz: '2600000' }),
    JSON.stringify({ ...good, elapsedUs: 0.5 }),
    JSON.stringify({ ...good, detail: 7 }),
  ];
  for (const text of bad) {
    await writeFile(path, text);
    assert.equal(await readAccelCache(path, 'boot'), undefined, text);
  }
  await writeFile(path, JSON.stringify(good));
  assert.deepEqual(await readAccelCache(path, 'boot'), SLOW);
});

test('many writers and readers at once: always one whole answer, no leftovers', async () => {
  const reads: Promise<ProbeResult | undefined>[] = [];
  const writes = Array.from({ length: 20 }, async (_, n) => {
    await writeAccelCache(path, 'boot', { ...SLOW, elapsedUs: n });
    reads.push(readAccelCache(path, 'boot'));
  });
  await Promise.all(writes);
  for (const result of await Promise.all(reads)) assert.equal(result?.kvm, 'slow');
  assert.deepEqual(await readdir(join(dir, 'run')), ['accel.json']);
});

test('a cache that cannot be written says so and leaves nothing', async () => {
  await writeFile(join(dir, 'file'), '');
  await assert.rejects(writeAccelCache(join(dir, 'file/accel.json'), 'boot', SLOW));
  await mkdir(join(dir, 'full/accel.json'), { recursive: true });
  await assert.rejects(writeAccelCache(join(dir, 'full/accel.json'), 'boot', SLOW));
  assert.deepEqual(await readdir(join(dir, 'full')), ['accel.json']);
});
