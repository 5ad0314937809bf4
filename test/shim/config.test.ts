import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SquibError } from '../../src/base/errors.ts';
import { defaultConfig, loadConfig, parseConfig } from '../../src/shim/config.ts';
import { UID_BASE_DEFAULT } from '../../src/vmm/qemu/engine.ts';

async function refused(toml: string): Promise<string> {
  try {
    await parseConfig(toml, 'squib.toml');
  } catch (thrown) {
    assert.ok(thrown instanceof SquibError);
    assert.equal(thrown.code, 'invalid-argument');
    return thrown.message;
  }
  return assert.fail(`accepted ${toml}`);
}

test('an unknown key is named with its line and the known ones', async () => {
  assert.match(
    await refused('\n# x\nmemory = 1\n'),
    /^squib\.toml:3: unknown key "memory"; known keys: engine, /,
  );
  assert.match(await refused('vcpus = 1\n[vm]\nx = 1\n'), /^squib\.toml:2: unknown key "vm"/);
  assert.match(await refused('a.b = 1\n'), /^squib\.toml:1: unknown key "a"/);
  assert.match(await refused('"to String" = 1\n'), /^squib\.toml:1: unknown key "to String"/);
  assert.match(await refused('toString = 1\n'), /^squib\.toml:1: unknown key "toString"/);
});

test('a wrong type or value is named with its line and what was expected', async () => {
  const cases: [string, RegExp][] = [
    ['vcpus = "2"', /:1: vcpus is "2"; expected an integer from 1 to 64/],
    ['vcpus = 0', /:1: vcpus is 0; expected/],
    ['vcpus = 1.5', /:1: vcpus is 1\.5; expected/],
    ['\nmemory_mib = 64', /:2: memory_mib is 64; expected an integer from 128/],
    ['engine = "xen"', /:1: engine is "xen"; expected one of "qemu"/],
    ['kernel = "vmlinux"', /:1: kernel is "vmlinux"; expected an absolute path/],
    ['kernel = 2026-01-01', /:1: kernel is .*; expected an absolute path/],
    ['accelerator = true', /:1: accelerator is true; expected one of "auto", "kvm", "tcg"/],
    ['log_level = []', /:1: log_level is \[\]; expected one of/],
  ];
  for (const [toml, words] of cases) assert.match(await refused(toml), words);
});

test('what is no TOML is named with its line', async () => {
  assert.match(await refused('vcpus = 1\nengine = "qemu\n'), /^squib\.toml:2: /);
  assert.match(await refused('vcpus = 1\nvcpus = 2\n'), /^squib\.toml:2: /);
});

test('an empty file gives the defaults, and units are converted', async () => {
  assert.deepEqual(await parseConfig('', 'x'), defaultConfig());
  assert.equal((await parseConfig('boot_timeout_s = 5', 'x')).bootTimeoutMs, 5000);
  assert.equal(defaultConfig().bootTimeoutMs, 60_000);
  assert.equal(defaultConfig().uidBase, UID_BASE_DEFAULT);
});

test('runtime options go before the host, their path before their body', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'squib-config-'));
  try {
    const path = join(dir, 'a.toml');
    writeFileSync(path, 'vcpus = 3\n');
    assert.equal((await loadConfig({ path })).vcpus, 3);
    assert.equal((await loadConfig({ path, body: 'vcpus = 4' })).vcpus, 3);
    assert.equal((await loadConfig({ hostPath: path, body: 'vcpus = 4' })).vcpus, 4);
    assert.equal((await loadConfig({ hostPath: path })).vcpus, 3);
    const missing = join(dir, 'missing.toml');
    await assert.rejects(
      loadConfig({ hostPath: missing }),
      (thrown) =>
        thrown instanceof SquibError &&
        thrown.code === 'failed-precondition' &&
        thrown.message.includes(missing),
    );
    await assert.rejects(
      loadConfig({ body: 'nonsense = 1' }),
      /runtime options \(config_body\):1: unknown key/,
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});
