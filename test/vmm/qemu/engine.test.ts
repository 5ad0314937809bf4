import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { describe, SquibError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { VmConfig } from '../../../src/vmm/contract.ts';
import { QemuEngine, type QemuEngineOptions } from '../../../src/vmm/qemu/engine.ts';

const skip = process.arch === 'x64' ? false : `the engine refuses ${process.arch}`;
const dir = await mkdtemp(join(tmpdir(), 'squib-engine-'));
after(() => rm(dir, { recursive: true }));
const at = (name: string) => join(dir, name);

await writeFile(at('vmlinux'), '\x7fELF and so on', 'latin1');
await writeFile(at('initramfs'), 'initramfs');
const script = (name: string, text: string) => writeFile(at(name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
await script('program', 'exit 0');

const options = (over: Partial<QemuEngineOptions> = {}): QemuEngineOptions => ({
  qemuPath: at('program'),
  jailPath: at('program'),
  passFdPath: at('program'),
  probePath: at('program'),
  accelerator: 'kvm', // asks no probe
  accelCachePath: at('accel.json'),
  logger: silentLogger,
  ...over,
});

const config = (boot: Partial<VmConfig['boot']> = {}, over: Partial<VmConfig> = {}): VmConfig => ({
  id: 'vm',
  machine: { vcpuCount: 1, memSizeMib: 128 },
  boot: { kernelImagePath: at('vmlinux'), initrdPath: at('initramfs'), bootArgs: '', ...boot },
  ...over,
});

async function refuses(engine: QemuEngineOptions, vm: VmConfig, code: string, says: RegExp): Promise<void> {
  const launched = new QemuEngine(engine).launch(vm);
  await assert.rejects(launched, (error: unknown) => {
    assert.ok(error instanceof SquibError);
    assert.equal(error.code, code, describe(error));
    assert.match(describe(error), says);
    return true;
  });
}

test('missing and unusable parts are named, with what to do', { skip }, async () => {
  const missing = 'failed-precondition';
  await refuses(
    options({ qemuPath: at('none') }),
    config(),
    missing,
    /VMM cannot be run at .*none: install qemu/,
  );
  await refuses(
    options({ jailPath: at('none') }),
    config(),
    missing,
    /jail cannot be run at .*none: reinstall/,
  );
  await refuses(
    options({ passFdPath: at('vmlinux') }),
    config(),
    missing,
    /pass-fd cannot be run at .*vmlinux/,
  );
  await refuses(
    options({ accelerator: 'auto', probePath: at('none') }),
    config(),
    missing,
    /probe helper .*none/,
  );
  await refuses(options(), config({ kernelImagePath: at('none') }), missing, /guest kernel is not at .*none/);
  await refuses(options(), config({ initrdPath: at('none') }), missing, /initramfs is not at .*none/);
  await refuses(options(), config({ initrdPath: dir }), missing, /initramfs at .* is no file/);
  await refuses(
    options(),
    config({ kernelImagePath: at('initramfs') }),
    missing,
    /no ELF file.*extract-vmlinux/,
  );
  await writeFile(at('empty'), '');
  await refuses(options(), config({ initrdPath: at('empty') }), missing, /empty/);
  await writeFile(at('secret'), 'x');
  await chmod(at('secret'), 0o600);
  await refuses(options(), config({ initrdPath: at('secret') }), missing, /chmod o\+r .*secret/);
});

test('a configuration out of range is refused before anything runs', { skip }, async () => {
  const bad: [VmConfig, RegExp][] = [
    [config({}, { id: '' }), /VM id is ""/],
    [config({}, { id: 'a,b' }), /VM id/],
    [config({}, { id: 'x'.repeat(77) }), /VM id/],
    [
      config({}, { machine: { vcpuCount: 0, memSizeMib: 128 } }),
      /vcpuCount is 0: expected a whole number 1 to 64/,
    ],
    [config({}, { machine: { vcpuCount: 65, memSizeMib: 128 } }), /vcpuCount is 65/],
    [config({}, { machine: { vcpuCount: 1.5, memSizeMib: 128 } }), /vcpuCount is 1.5/],
    [config({}, { machine: { vcpuCount: 1, memSizeMib: 63 } }), /memSizeMib is 63/],
    [config({}, { machine: { vcpuCount: 1, memSizeMib: Number.NaN } }), /memSizeMib is NaN/],
    [config({ bootArgs: 'a\nb' }), /boot arguments/],
    [config({ bootArgs: 'x'.repeat(1537) }), /boot arguments/],
  ];
  for (const [vm, says] of bad) await refuses(options(), vm, 'invalid-argument', says);
});

test('a VMM that refuses its arguments: its words and its status are in the error', { skip }, async () => {
  await script('refusing', 'echo "qemu: -M microvm: \x1b[31munsupported" >&2; exit 1');
  const says = /VM vm did not start: QEMU ended with status 1; .*-M microvm: \\x1b\[31munsupported/;
  await refuses(options({ jailPath: at('refusing') }), config(), 'unavailable', says);
});

test('a jail that cannot be executed', { skip }, async () => {
  await writeFile(at('no-program'), '#!/no/such/interpreter\n', { mode: 0o755 });
  await refuses(
    options({ jailPath: at('no-program') }),
    config(),
    'failed-precondition',
    /no-program cannot be run/,
  );
});

test('a VMM that breaks the protocol is ended', { skip }, async () => {
  await script('garbage', `echo $$ >${at('garbage.pid')}; echo garbage >&4; exec sleep 60`);
  await refuses(options({ jailPath: at('garbage') }), config(), 'unavailable', /broke the protocol/);
  const pid = Number(await readFile(at('garbage.pid'), 'utf8'));
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});

test('the jail gets the paths and QEMU its own view of them', { skip }, async () => {
  await script('recording', `printf '%s\\n' "$@" >${at('argv')}; exit 7`);
  const engine = options({ jailPath: at('recording'), uidBase: 5000 });
  await refuses(engine, config(), 'unavailable', /status 7/);
  const argv = (await readFile(at('argv'), 'utf8')).split('\n');
  const cut = argv.indexOf('--');
  const jail = argv.slice(0, cut).join(' ');
  assert.match(jail, /^--uid-base 5000 --keep-fds 6 --ro-if \/usr /);
  assert.ok(jail.includes(`--ro ${at('vmlinux')} /kernel --ro ${at('initramfs')} /initrd --kvm`), jail);
  assert.equal(argv[cut + 1], at('program'));
  assert.equal(argv.slice(cut + 2).includes(at('vmlinux')), false);
});
