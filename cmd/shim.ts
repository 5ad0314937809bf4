import { accessSync, constants } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import type { FifoLogger } from '../src/base/log-fifo.ts';
import type { Config } from '../src/shim/config.ts';
import { runDaemon } from '../src/shim/daemon.ts';
import { parseFlags } from '../src/shim/flags.ts';
import { ACCEL_CACHE_PATH, type AcceleratorChoice } from '../src/vmm/accel.ts';
import type { Engine } from '../src/vmm/contract.ts';
import { QemuEngine } from '../src/vmm/qemu/engine.ts';

/** Where everything that was installed lies: the directory of this bundle. */
const LIB = dirname(process.argv[1] ?? '.');

function createEngine(config: Config, logger: FifoLogger): Engine {
  return new QemuEngine({
    qemuPath: programPath(config.qemu),
    jailPath: join(LIB, 'jail'),
    passFdPath: join(LIB, 'pass-fd'),
    probePath: join(LIB, 'kvm-probe'),
    accelerator: config.accelerator as AcceleratorChoice,
    accelCachePath: ACCEL_CACHE_PATH,
    uidBase: config.uidBase,
    logger,
  });
}

/** A name without a slash is looked for on PATH; one that is not there stays, and the engine says so. */
function programPath(name: string): string {
  if (name.includes('/')) return name;
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return name;
}

void runDaemon({
  flags: parseFlags(process.argv.slice(2)),
  bundle: process.cwd(),
  env: process.env,
  createEngine,
  bootSource: (config) => ({
    kernelImagePath: config.kernel || join(LIB, 'guest', 'vmlinux'),
    initrdPath: config.initramfs || join(LIB, 'guest', 'initramfs'),
    bootArgs: '',
  }),
  imageConverter: join(LIB, 'convert.cjs'),
});
