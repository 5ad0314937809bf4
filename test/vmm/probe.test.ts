import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SquibError } from '../../src/base/errors.ts';
import { parseProbe, runProbe } from '../../src/vmm/probe.ts';

test('refuses what the helper never prints', () => {
  const lines = [
    '',
    'kvm=ok',
    'kvm=fine tsc_khz=1',
    'kvm=ok elapsed_us=-1 tsc_khz=1',
    'kvm=ok elapsed_us=1 tsc_khz=x',
    'kvm=ok elapsed_us=1 tsc_khz=1.5',
    'kvm=ok elapsed_us=1e99 tsc_khz=1',
    'Segmentation fault',
  ];
  for (const line of lines) {
    assert.throws(
      () => parseProbe(line),
      (error) => error instanceof SquibError && error.code === 'internal',
      line,
    );
  }
});

test('reads every verdict', () => {
  assert.deepEqual(parseProbe('kvm=ok elapsed_us=9120 tsc_khz=2600000\n'), {
    kvm: 'ok',
    elapsedUs: 9120,
    tscKhz: 2_600_000,
    detail: '',
  });
  assert.equal(parseProbe('kvm=slow elapsed_us=1000091 tsc_khz=2600000').kvm, 'slow');
  assert.deepEqual(parseProbe('kvm=absent step=open errno=2 tsc_khz=0'), {
    kvm: 'absent',
    elapsedUs: 0,
    tscKhz: 0,
    detail: 'open errno 2',
  });
  assert.equal(
    parseProbe('kvm=broken step=KVM_RUN_exit_reason errno=17 tsc_khz=5').detail,
    'KVM_RUN_exit_reason errno 17',
  );
  assert.equal(parseProbe('tsc_khz=2600000').kvm, 'untested');
});

test('a helper that is missing or fails is named with what to do', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'squib-probe-'));
  try {
    const missing = join(dir, 'none');
    await assert.rejects(runProbe(missing, 'kvm'), {
      code: 'failed-precondition',
      message: new RegExp(missing),
    });
    const failing = join(dir, 'failing');
    await writeFile(failing, '#!/bin/sh\nexit 1\n');
    await chmod(failing, 0o755);
    await assert.rejects(runProbe(failing, 'tsc'), {
      code: 'failed-precondition',
      message: /reinstall squib/,
    });
  } finally {
    await rm(dir, { recursive: true });
  }
});
