import assert from 'node:assert/strict';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import {
  type AcceleratorChoice,
  checkArchitecture,
  chooseAccelerator,
  unusableKvm,
} from '../../src/vmm/accel.ts';

const dir = await mkdtemp(join(tmpdir(), 'squib-accel-'));
after(() => rm(dir, { recursive: true }));
const probePath = join(dir, 'kvm-probe');
const cachePath = join(dir, 'accel.json');
const runs = join(dir, 'runs');
const warnings: string[] = [];
const logger = { ...silentLogger, warn: (message: string) => void warnings.push(message) };

beforeEach(async () => {
  await rm(cachePath, { force: true });
  await writeFile(runs, '');
  warnings.length = 0;
});

/** A helper that notes how it was called and prints `output`. */
async function helper(output: string): Promise<void> {
  await writeFile(probePath, `#!/bin/sh\necho "run $1" >>${runs}\necho "${output}"\n`, { mode: 0o755 });
}

const choose = (choice: AcceleratorChoice) => chooseAccelerator({ choice, probePath, cachePath, logger });
const runCount = async () => (await readFile(runs, 'utf8')).split('\n').length - 1;

function kvmOpens(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

test('auto takes a slow /dev/kvm for none: TCG, one warning, one probe per boot', async () => {
  await helper('kvm=slow elapsed_us=1000091 tsc_khz=2600000');
  for (let n = 0; n < 3; n++) assert.deepEqual(await choose('auto'), { kind: 'tcg', tscKhz: 2_600_000 });
  assert.equal(await runCount(), 1);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? '', /does not run guests at hardware speed.*1000 ms.*TCG/);
});

test('auto takes KVM that is proved, and says nothing', async () => {
  await helper('kvm=ok elapsed_us=9000 tsc_khz=2600000');
  assert.deepEqual(await choose('auto'), { kind: 'kvm' });
  assert.deepEqual(await choose('auto'), { kind: 'kvm' });
  assert.equal(await runCount(), 1);
  assert.deepEqual(warnings, []);
});

test('a missing /dev/kvm is looked for again once it is there', async () => {
  await helper('kvm=absent step=open errno=2 tsc_khz=2600000');
  await choose('auto');
  await choose('auto');
  assert.equal(await runCount(), kvmOpens() ? 2 : 1);
  assert.match(warnings[0] ?? '', /no usable \/dev\/kvm \(open errno 2\)/);
});

test('tcg asks for the TSC alone; auto probes all the same afterwards, and not the other way round', async () => {
  await helper('tsc_khz=2600000');
  assert.deepEqual(await choose('tcg'), { kind: 'tcg', tscKhz: 2_600_000 });
  await helper('kvm=ok elapsed_us=9000 tsc_khz=2600000');
  assert.deepEqual(await choose('auto'), { kind: 'kvm' });
  assert.deepEqual(await choose('tcg'), { kind: 'tcg', tscKhz: 2_600_000 });
  assert.equal(await readFile(runs, 'utf8'), 'run tsc\nrun \n');
  assert.deepEqual(warnings, []);
});

test('kvm is taken at its word, without any helper', async () => {
  await rm(probePath, { force: true });
  assert.deepEqual(await choose('kvm'), { kind: 'kvm' });
});

test('a damaged cache and a boot gone by are probed again', async () => {
  await helper('kvm=slow elapsed_us=1000091 tsc_khz=2600000');
  await writeFile(cachePath, '{"format":1,');
  await choose('auto');
  const cache = JSON.parse(await readFile(cachePath, 'utf8'));
  await writeFile(cachePath, JSON.stringify({ ...cache, bootId: 'gone' }));
  await choose('auto');
  assert.equal(await runCount(), 2);
});

test('starts at the same time agree', async () => {
  await helper('kvm=slow elapsed_us=1000091 tsc_khz=2600000');
  const answers = await Promise.all(Array.from({ length: 8 }, () => choose('auto')));
  for (const answer of answers) assert.deepEqual(answer, { kind: 'tcg', tscKhz: 2_600_000 });
});

test('a cache that cannot be kept is a warning, not a failure', async () => {
  await helper('kvm=ok elapsed_us=1 tsc_khz=1');
  const unwritable = join(probePath, 'accel.json');
  assert.deepEqual(await chooseAccelerator({ choice: 'auto', probePath, cachePath: unwritable, logger }), {
    kind: 'kvm',
  });
  assert.match(warnings[0] ?? '', /cannot be cached/);
});

test('TCG without a TSC rate is refused: its guests would hang', async () => {
  await helper('kvm=slow elapsed_us=1000091 tsc_khz=0');
  await assert.rejects(choose('auto'), { code: 'failed-precondition', message: /TSC/ });
});

test('a missing helper is named', async () => {
  await rm(probePath);
  await assert.rejects(choose('auto'), { code: 'failed-precondition', message: new RegExp(probePath) });
});

test('other architectures are refused by name', () => {
  checkArchitecture('x64');
  assert.throws(() => checkArchitecture('arm64'), { code: 'failed-precondition', message: /x64.*arm64/ });
});

test('every reason against KVM reads differently', () => {
  const base = { elapsedUs: 0, tscKhz: 1, detail: 'KVM_CREATE_VM errno 16' };
  const texts = (['slow', 'absent', 'broken'] as const).map((kvm) => unusableKvm({ ...base, kvm }));
  assert.equal(new Set(texts).size, 3);
});
