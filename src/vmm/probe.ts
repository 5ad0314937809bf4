import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { SquibError } from '../base/errors.ts';

/** The verdicts of kvm-probe; `untested` where only the TSC was asked for. */
export const KVM_VERDICTS = ['ok', 'slow', 'absent', 'broken', 'untested'] as const;
/** `ok`: guest code ran at hardware speed. `slow`: /dev/kvm emulates. `absent`: none that opens. */
export type KvmVerdict = (typeof KVM_VERDICTS)[number];

/** What the probe helper found out about this host. */
export interface ProbeResult {
  readonly kvm: KvmVerdict;
  /** How long the timed guest loop ran; it was stopped at 1 s. 0 if it never ran. */
  readonly elapsedUs: number;
  readonly tscKhz: number;
  /** For `absent` and `broken`: the step that failed and its errno; else empty. */
  readonly detail: string;
}

/** The helper ends itself after little more than 1 s. */
const PROBE_TIMEOUT_MS = 5000;

/**
 * Runs the helper kvm-probe: 20 ms for the TSC, and for KVM some more where it
 * works, 1 s where it is too slow.
 * @throws SquibError `failed-precondition` if it cannot run, `internal` if it prints anything else.
 */
export async function runProbe(path: string, what: 'kvm' | 'tsc'): Promise<ProbeResult> {
  try {
    const { stdout } = await promisify(execFile)(path, what === 'tsc' ? ['tsc'] : [], {
      timeout: PROBE_TIMEOUT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: 4096,
    });
    return parseProbe(stdout);
  } catch (cause) {
    if (cause instanceof SquibError) throw cause;
    throw new SquibError(
      'failed-precondition',
      `the probe helper ${path} failed: reinstall squib, or set the accelerator to "kvm"`,
      { cause },
    );
  }
}

/**
 * Reads the helper's line, `kvm=slow elapsed_us=1000091 tsc_khz=2600000` (src/vmm/native/kvm-probe.c).
 * @throws SquibError `internal` if it is anything else.
 */
export function parseProbe(output: string): ProbeResult {
  const pairs = new Map(
    output
      .trim()
      .split(/\s+/)
      .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)] as const),
  );
  const said = pairs.get('kvm') ?? 'untested';
  const kvm = KVM_VERDICTS.find((verdict) => verdict === said);
  const elapsedUs = Number(pairs.get('elapsed_us') ?? 0);
  const tscKhz = Number(pairs.get('tsc_khz') ?? Number.NaN);
  if (kvm === undefined || !isCount(elapsedUs) || !isCount(tscKhz)) {
    throw new SquibError(
      'internal',
      `kvm-probe printed ${JSON.stringify(output.slice(0, 200))}: expected its verdict line`,
    );
  }
  const step = pairs.get('step');
  return { kvm, elapsedUs, tscKhz, detail: step === undefined ? '' : `${step} errno ${pairs.get('errno')}` };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
