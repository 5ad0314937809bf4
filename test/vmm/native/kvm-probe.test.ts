import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { parseProbe } from '../../../src/vmm/probe.ts';
import { helperPath, skipReason } from './built.ts';

const skip = skipReason('kvm-probe');

function run(...args: string[]) {
  const start = performance.now();
  const { stdout, status } = spawnSync(helperPath('kvm-probe'), args, { encoding: 'utf8', timeout: 10_000 });
  return { stdout, status, ms: performance.now() - start };
}

test('refuses other arguments', { skip }, () => {
  assert.equal(run('--help').status, 2);
  assert.equal(run('tsc', 'x').status, 2);
});

test('gives a verdict within its deadline', { skip }, () => {
  const { stdout, status, ms } = run();
  assert.equal(status, 0);
  const { kvm, elapsedUs } = parseProbe(stdout);
  assert.notEqual(kvm, 'untested');
  if (kvm === 'slow') assert.ok(elapsedUs >= 1_000_000 && elapsedUs < 4_500_000, stdout);
  if (kvm === 'ok') assert.ok(elapsedUs < 4_500_000, stdout);
  assert.ok(ms < 5500, `${ms} ms`);
});

test('measures the TSC to 1 in 10,000', { skip }, () => {
  const rates = Array.from({ length: 3 }, () => parseProbe(run('tsc').stdout).tscKhz);
  const [first = 0] = rates;
  assert.ok(first > 100_000 && first < 10_000_000, `${first} kHz`);
  for (const rate of rates) assert.ok(Math.abs(rate - first) < first / 10_000, `${rates} kHz`);
});
