import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cpuWeight, planResources } from '../../../src/shim/plan/cgroup-resources.ts';

const planned = (resources: Parameters<typeof planResources>[0]) => planResources(resources, () => {});

test('no resources, and every way to write "no limit", leave the kernel its defaults', () => {
  const none = planned(undefined);
  assert.deepEqual(planned({}), none);
  assert.deepEqual(
    planned({ memory: { limit: -1, reservation: 0 }, cpu: { quota: -1, shares: 0 }, pids: { limit: -1 } }),
    none,
  );
  // What Kubernetes writes: 2^63 rounded down to a page.
  assert.equal(planned({ memory: { limit: 2 ** 63 - 4096 } }).memoryMax, 0);
  assert.deepEqual(none, {
    memoryMax: 0,
    memoryLow: 0,
    swapMax: 0,
    cpuQuotaUs: 0,
    cpuPeriodUs: 0,
    cpuWeight: 0,
    cpusetCpus: '',
    pidsMax: 0,
    unified: [],
  });
});

test('limits come through; swap is counted without memory', () => {
  const resources = planned({
    memory: { limit: 100, reservation: 50, swap: 150 },
    cpu: { quota: 20_000, period: 100_000, shares: 1024 },
    pids: { limit: 7 },
    unified: new Map([['memory.high', '90']]),
    hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
  });
  assert.deepEqual(resources, {
    memoryMax: 100,
    memoryLow: 50,
    swapMax: 50,
    cpuQuotaUs: 20_000,
    cpuPeriodUs: 100_000,
    cpuWeight: 39,
    cpusetCpus: '',
    pidsMax: 7,
    unified: [{ key: 'memory.high', value: '90' }],
  });
  assert.equal(planned({ memory: { limit: 100, swap: -1 } }).swapMax, -1);
  assert.equal(planned({ memory: { limit: 100, swap: 100 } }).swapMax, 0);
});

test('shares as weight: runc and Kubernetes give the same', () => {
  for (const [shares, weight] of [
    [0, 0],
    [1, 1],
    [2, 1],
    [102, 4],
    [1024, 39],
    [2048, 79],
    [262_144, 10_000],
    [1e9, 10_000],
  ] as const) {
    assert.equal(cpuWeight(shares), weight, `${shares}`);
  }
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e9 }), (shares) => {
      const weight = cpuWeight(shares);
      assert.ok(Number.isInteger(weight) && weight >= 1 && weight <= 10_000);
      assert.ok(cpuWeight(shares + 1) >= weight);
    }),
  );
});
