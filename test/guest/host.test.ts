import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { nativeAgentMissing, startNativeAgent } from './native-agent.ts';

const ROOT = join(import.meta.dirname, '../..');
const VMLINUX = join(ROOT, 'build/kernel/vmlinux');
/** A boot takes about 1.5 s under TCG; many times that on a loaded machine. */
const BOOT_MS = 60_000;
const HOST_TSC_KHZ = 2_000_000;

const missing = existsSync(join(ROOT, 'build/quickjs')) ? undefined : 'no build/quickjs: run tools/setup';

/** Boots an initramfs under TCG and gives its console once the guest has restarted. */
function boot(initramfs: string, append = ''): string {
  const time = `tsc_early_khz=${HOST_TSC_KHZ} tsc=reliable no_timer_check`;
  const machine = ['-M', 'microvm', '-accel', 'tcg', '-m', '128', '-nodefaults', '-no-user-config'];
  const output = ['-display', 'none', '-no-reboot', '-serial', 'stdio'];
  const guest = [
    '-kernel',
    VMLINUX,
    '-initrd',
    initramfs,
    '-append',
    `${time} console=ttyS0 reboot=t quiet ${append}`,
  ];
  const run = spawnSync('qemu-system-x86_64', [...machine, ...output, ...guest], {
    encoding: 'utf8',
    timeout: BOOT_MS,
  });
  assert.equal(run.status, 0, `qemu: ${run.error ?? run.stderr}\n${run.stdout}`);
  return run.stdout;
}

describe('the C host', { skip: missing }, () => {
  let out = '';
  before(() => {
    out = mkdtempSync(join(tmpdir(), 'squib-self-test-'));
    const build = ['--entry', join(ROOT, 'test/guest/self-test.ts'), '--out', out];
    execFileSync(join(ROOT, 'tools/build-guest'), build, { stdio: 'pipe' });
  });
  after(() => rmSync(out, { recursive: true }));

  it('passes its self-test on this kernel', async (t) => {
    const agent = join(out, 'agent');
    const reason = nativeAgentMissing(agent);
    if (reason) return t.skip(reason);
    const self = startNativeAgent({ agent });
    await self.exited;
    assert.match(self.log(), /self-test: 2\d checks, 0 failed/);
  });

  it('tells an uncaught error with its place, and ends', async (t) => {
    const agent = join(out, 'agent');
    const reason = nativeAgentMissing(agent);
    if (reason) return t.skip(reason);
    const self = startNativeAgent({ agent, args: ['throw'] });
    // As PID 1 of a pid namespace a restart is the end of the namespace, told by SIGHUP.
    assert.deepEqual(await self.exited, { code: null, signal: 'SIGHUP' });
    assert.match(self.log(), /squib-agent: uncaught Error: asked to\n {4}at .*agent\.js:\d+:\d+/);
  });

  it('passes its self-test as PID 1 of a microVM, and restarts it after an uncaught error', (t) => {
    if (!existsSync(VMLINUX)) return t.skip(`no ${VMLINUX}: run tools/setup`);
    const text = boot(join(out, 'initramfs'), 'throw=1');
    assert.match(text, /self-test: 2\d checks, 0 failed/);
    assert.match(text, /squib-agent: uncaught Error: asked to/);
    assert.match(text, /Restarting system/);
    assert.doesNotMatch(text, /panic/i);
  });
});
