import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSpec } from '../../../oci/runtime-spec.ts';
import { GUEST_OVERHEAD_MIB, machineSize } from '../../../src/shim/plan/machine-size.ts';

const DEFAULTS = { vcpus: 2, memoryMib: 512 };

function size(resources: object, annotations: Record<string, string> = {}) {
  const spec = { ociVersion: '1.0.2', linux: { resources }, annotations };
  return machineSize(parseSpec(JSON.stringify(spec)), DEFAULTS, 8);
}

test('without limits the configured size', () => {
  assert.deepEqual(size({}), { vcpuCount: 2, memSizeMib: 512 });
  assert.deepEqual(size({ memory: { limit: -1 }, cpu: { quota: -1, period: 100_000 } }), {
    vcpuCount: 2,
    memSizeMib: 512,
  });
  assert.equal(size({ memory: { limit: 2 ** 63 - 4096 } }).memSizeMib, 512);
});

test('a memory limit leaves the workload at least that much; a quota is rounded up', () => {
  const { memSizeMib } = size({ memory: { limit: 1024 * 2 ** 20 } });
  assert.ok(memSizeMib >= 1024 + GUEST_OVERHEAD_MIB && memSizeMib <= 1024 * 1.1 + GUEST_OVERHEAD_MIB);
  assert.equal(size({ cpu: { quota: 150_000, period: 100_000 } }).vcpuCount, 2);
  assert.equal(size({ cpu: { quota: 300_001, period: 100_000 } }).vcpuCount, 4);
  assert.equal(size({ cpu: { quota: 1000 } }).vcpuCount, 1);
});

test('a tiny limit still boots, and no VM has more CPUs than the engine gives', () => {
  assert.equal(size({ memory: { limit: 1 } }).memSizeMib, 128);
  assert.equal(size({ cpu: { quota: 1e9, period: 1000 } }).vcpuCount, 8);
});

test("a sandbox's own statement goes before its pause container's limits", () => {
  const annotations = {
    'io.kubernetes.cri.sandbox-memory': String(300 * 2 ** 20),
    'io.kubernetes.cri.sandbox-cpu-quota': '250000',
    'io.kubernetes.cri.sandbox-cpu-period': '100000',
  };
  const { vcpuCount, memSizeMib } = size({ memory: { limit: 2 ** 20 } }, annotations);
  assert.equal(vcpuCount, 3);
  assert.ok(memSizeMib >= 300 + GUEST_OVERHEAD_MIB);
});
