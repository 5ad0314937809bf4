import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { describe, SquibError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { readAccelCache, writeAccelCache } from './accel-cache.ts';
import { type ProbeResult, runProbe } from './probe.ts';

/** What the configuration may ask for. */
export type AcceleratorChoice = 'auto' | 'kvm' | 'tcg';

/** The decision: KVM, or TCG with the rate of the host's TSC that its guests need. */
export type Accelerator = { readonly kind: 'kvm' } | { readonly kind: 'tcg'; readonly tscKhz: number };

export interface AcceleratorOptions {
  readonly choice: AcceleratorChoice;
  /** The helper kvm-probe. */
  readonly probePath: string;
  /** Where the probe's answer is kept for the rest of the host's boot. */
  readonly cachePath: string;
  readonly logger: Logger;
}

/** The default cache: /run is gone after a reboot, and the file names its boot as well. */
export const ACCEL_CACHE_PATH = '/run/squib/accel.json';

const KVM_PATH = '/dev/kvm';
const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';

/**
 * Decides on the accelerator. The host is probed once per boot of it (about 30 ms where KVM works,
 * 1 s where /dev/kvm is too slow) and the answer cached; concurrent callers may both probe.
 * `auto` takes KVM only where the probe proved it; `kvm` takes it untested.
 * @throws SquibError `failed-precondition` if the probe helper cannot run and its answer is needed,
 *   or the machine is not x86_64.
 */
export async function chooseAccelerator(options: AcceleratorOptions): Promise<Accelerator> {
  checkArchitecture(process.arch);
  if (options.choice === 'kvm') return { kind: 'kvm' };
  const { result, fresh } = await probeHost(options);
  if (options.choice === 'auto') {
    if (result.kvm === 'ok') return { kind: 'kvm' };
    const why = unusableKvm(result);
    const fields = { accelerator: 'tcg', cache: options.cachePath };
    // Once per host boot for the operator; afterwards it is background.
    if (fresh) options.logger.warn(`${why}; guests run emulated (TCG), several times slower`, fields);
    else options.logger.debug(`${why}; using TCG`, fields);
  }
  if (result.tscKhz <= 0) {
    throw new SquibError(
      'failed-precondition',
      `${options.probePath} could not measure the host's TSC (${result.tscKhz} kHz): TCG guests hang without it`,
    );
  }
  return { kind: 'tcg', tscKhz: result.tscKhz };
}

/** @throws SquibError `failed-precondition` for all but x64: the machine type is x86's microvm. */
export function checkArchitecture(arch: string): void {
  if (arch === 'x64') return;
  throw new SquibError('failed-precondition', `the qemu engine runs on x64 hosts only; this one is ${arch}`);
}

/** Why KVM is not used, in words for an operator. */
export function unusableKvm(result: ProbeResult): string {
  if (result.kvm === 'slow') {
    const ms = Math.round(result.elapsedUs / 1000);
    return `/dev/kvm opens but does not run guests at hardware speed (a loop of some ms was not done after ${ms} ms)`;
  }
  if (result.kvm === 'absent') return `no usable /dev/kvm (${result.detail})`;
  return `/dev/kvm does not work (${result.detail})`;
}

async function probeHost(options: AcceleratorOptions): Promise<{ result: ProbeResult; fresh: boolean }> {
  const bootId = (await readFile(BOOT_ID_PATH, 'utf8')).trim();
  const cached = await readAccelCache(options.cachePath, bootId);
  if (cached !== undefined && (await stillGood(cached, options.choice)))
    return { result: cached, fresh: false };
  const result = await runProbe(options.probePath, options.choice === 'auto' ? 'kvm' : 'tsc');
  await writeAccelCache(options.cachePath, bootId, result).catch((thrown: unknown) => {
    const fields = { error: describe(thrown) };
    options.logger.warn(`the accelerator probe cannot be cached in ${options.cachePath}`, fields);
  });
  return { result, fresh: true };
}

/** Whether a cached answer serves the choice: a device that was missing may have come (modprobe). */
async function stillGood(cached: ProbeResult, choice: AcceleratorChoice): Promise<boolean> {
  if (choice !== 'auto') return true;
  if (cached.kvm !== 'absent') return cached.kvm !== 'untested';
  return await access(KVM_PATH, constants.R_OK | constants.W_OK).then(
    () => false,
    () => true,
  );
}
