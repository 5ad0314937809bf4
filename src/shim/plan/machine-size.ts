import { sandboxLimits } from '../../../oci/annotations.ts';
import type { Spec } from '../../../oci/runtime-spec.ts';
import type { MachineConfig } from '../../vmm/resource/machine-config.ts';

/**
 * Memory that the guest's kernel and agent keep for themselves: a VM of n + GUEST_OVERHEAD_MIB
 * shows at least n MiB as "total" in `free`.
 */
export const GUEST_OVERHEAD_MIB = 64;

/** A guest with less does not boot, whatever the container's limit says. */
const MEMORY_MIB_MIN = 128;

/** A limit above this is "no limit" for the size of a VM (4 TiB). */
const MEMORY_MIB_MAX = 4 * 1024 * 1024;

/** Sizes from the configuration, for pods that state no limit. */
export interface MachineDefaults {
  readonly vcpus: number;
  readonly memoryMib: number;
}

/**
 * The size of the VM for a pod: memory is the limit plus GUEST_OVERHEAD_MIB, vCPUs are the CPU
 * quota rounded up; a limit that is not stated comes from the defaults. A Kubernetes sandbox
 * states the sum of its containers as annotations.
 */
export function machineSize(spec: Spec, defaults: MachineDefaults, vcpusMax: number): MachineConfig {
  const pod = sandboxLimits(spec);
  const own = spec.linux?.resources;
  const bytes = pod.memoryBytes ?? own?.memory?.limit;
  const wanted = bytes !== undefined && bytes > 0 ? Math.ceil(bytes / 2 ** 20) : undefined;
  const limited = wanted !== undefined && wanted <= MEMORY_MIB_MAX;
  const memoryMib = limited ? wanted + GUEST_OVERHEAD_MIB : defaults.memoryMib;
  const quota = pod.cpuQuotaUs ?? own?.cpu?.quota;
  const period = pod.cpuPeriodUs ?? own?.cpu?.period ?? 100_000;
  const vcpus = quota !== undefined && quota > 0 && period > 0 ? Math.ceil(quota / period) : defaults.vcpus;
  return {
    vcpuCount: Math.min(Math.max(vcpus, 1), vcpusMax),
    memSizeMib: Math.max(memoryMib, MEMORY_MIB_MIN),
  };
}
