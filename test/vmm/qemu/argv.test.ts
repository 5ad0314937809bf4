import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { VmConfig } from '../../../src/vmm/contract.ts';
import { type AcceleratorFacts, qemuArguments } from '../../../src/vmm/qemu/argv.ts';

const PATHS = { kernel: '/kernel', initrd: '/initrd' };

function config(vcpuCount: number, memSizeMib: number, bootArgs = ''): VmConfig {
  const boot = { kernelImagePath: '/host/vmlinux', initrdPath: '/host/initramfs', bootArgs };
  return { id: 'pod-1', machine: { vcpuCount, memSizeMib }, boot };
}

/** One argument per line. */
function golden(name: string): string[] {
  const text = readFileSync(new URL(`../../vectors/${name}`, import.meta.url), 'utf8');
  return text.trimEnd().split('\n');
}

const after = (argv: string[], option: string) => argv[argv.indexOf(option) + 1] ?? '';

test('TCG, as recorded', () => {
  const tcg: AcceleratorFacts = { kind: 'tcg', tscKhz: 2_600_000 };
  assert.deepEqual(qemuArguments(config(1, 256), PATHS, tcg), golden('qemu-tcg.argv'));
});

test('KVM with a larger machine and boot arguments, as recorded', () => {
  const argv = qemuArguments(config(4, 2048, 'loglevel=7'), PATHS, { kind: 'kvm' });
  assert.deepEqual(argv, golden('qemu-kvm.argv'));
});

test('TCG guests get the TSC options without which they hang; KVM guests have a clock', () => {
  const tcg = after(qemuArguments(config(1, 128), PATHS, { kind: 'tcg', tscKhz: 1_234_567 }), '-append');
  assert.match(tcg, /(^| )tsc_early_khz=1234567 tsc=reliable no_timer_check( |$)/);
  assert.doesNotMatch(after(qemuArguments(config(1, 128), PATHS, { kind: 'kvm' }), '-append'), /tsc/);
});

test('there is no network, no host path and nothing of one VM but its name and size', () => {
  const tcg: AcceleratorFacts = { kind: 'tcg', tscKhz: 1 };
  const argv = qemuArguments(config(1, 256), PATHS, tcg);
  assert.doesNotMatch(argv.join(' '), /net|\/host|vhost|user,/);
  const other = qemuArguments({ ...config(1, 256), id: 'other' }, PATHS, tcg);
  assert.deepEqual(
    argv.filter((_, n) => argv[n] !== other[n]),
    ['guest=pod-1'],
  );
});

test('boot arguments stay one argument and come last, so that they win', () => {
  const argv = qemuArguments(config(1, 256, 'quiet -monitor stdio,x'), PATHS, { kind: 'kvm' });
  assert.ok(after(argv, '-append').endsWith(' quiet -monitor stdio,x'));
  assert.equal(argv.includes('-monitor'), false);
});
