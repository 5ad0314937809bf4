import type { SpecResources } from '../../../oci/runtime-spec.ts';
import { SquibError } from '../../base/errors.ts';

/** cgroup v2 values as the agent takes them; 0 or '' leaves the kernel's default. */
export interface PlannedResources {
  readonly memoryMax: number;
  readonly memoryLow: number;
  readonly swapMax: number;
  readonly cpuQuotaUs: number;
  readonly cpuPeriodUs: number;
  readonly cpuWeight: number;
  readonly cpusetCpus: string;
  readonly pidsMax: number;
  readonly unified: readonly { key: string; value: string }[];
}

/** From here on a limit is a way to write "none" (Kubernetes writes 2^63 rounded to a page). */
const UNLIMITED = 2 ** 62;

/**
 * The spec's cgroup v1 vocabulary in cgroup v2 values.
 * @param ignored is told the name of each setting that has no meaning in the guest.
 * @throws SquibError `unimplemented` for a limit that we would have to drop silently.
 */
export function planResources(
  resources: SpecResources | undefined,
  ignored: (name: string) => void,
): PlannedResources {
  const { memory, cpu, pids } = resources ?? {};
  refuseUnsupported(resources);
  if (cpu?.cpus) ignored('linux.resources.cpu.cpus');
  if (cpu?.mems) ignored('linux.resources.cpu.mems');
  const memoryMax = limit(memory?.limit);
  return {
    memoryMax,
    memoryLow: limit(memory?.reservation),
    swapMax: swapMax(memory?.swap, memoryMax),
    cpuQuotaUs: limit(cpu?.quota),
    cpuPeriodUs: limit(cpu?.period),
    cpuWeight: cpuWeight(cpu?.shares),
    cpusetCpus: '',
    pidsMax: limit(pids?.limit),
    unified: [...(resources?.unified ?? [])].map(([key, value]) => ({ key, value })),
  };
}

/**
 * cgroup v1 shares (2 to 262144, default 1024) as a cgroup v2 weight (1 to 10000): the formula of
 * runc and Kubernetes. 0 stays 0: not set.
 */
export function cpuWeight(shares: number | undefined): number {
  if (!shares || shares < 0) return 0;
  const within = Math.min(Math.max(shares, 2), 262_144);
  return 1 + Math.floor(((within - 2) * 9999) / 262_142);
}

function limit(value: number | undefined): number {
  return value === undefined || value <= 0 || value >= UNLIMITED ? 0 : value;
}

/** The spec counts memory and swap together, cgroup v2 swap alone. */
function swapMax(swap: number | undefined, memoryMax: number): number {
  if (swap === undefined || swap === 0) return 0;
  if (swap < 0 || swap >= UNLIMITED) return -1;
  if (memoryMax === 0) {
    throw new SquibError(
      'invalid-argument',
      `linux.resources.memory.swap: ${swap} needs a memory limit to be set as well`,
    );
  }
  if (swap < memoryMax) {
    throw new SquibError(
      'invalid-argument',
      `linux.resources.memory.swap: ${swap} counts memory and swap and is below the memory limit ${memoryMax}`,
    );
  }
  return swap - memoryMax;
}

function refuseUnsupported(resources: SpecResources | undefined): void {
  if (resources === undefined) return;
  const { blockIO, network, rdma, hugepageLimits, cpu } = resources;
  const given: [string, boolean][] = [
    ['blockIO', hasContent(blockIO)],
    ['network', hasContent(network)],
    ['rdma', (rdma?.size ?? 0) > 0],
    ['hugepageLimits', (hugepageLimits ?? []).some((h) => h.limit > 0n)],
    ['cpu.realtimeRuntime', (cpu?.realtimeRuntime ?? 0) > 0],
    ['cpu.burst', (cpu?.burst ?? 0) > 0],
    ['cpu.idle', (cpu?.idle ?? 0) > 0],
  ];
  for (const [name, isGiven] of given) {
    if (isGiven) throw new SquibError('unimplemented', `linux.resources.${name} is not supported`);
  }
}

function hasContent(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}
