import { sandboxLimits } from '../../../oci/annotations.ts';
import type { Spec } from '../../../oci/runtime-spec.ts';
import type { MachineConfig } from '../../vmm/resource/machine-config.ts';

/**
 * Memory that the guest's kernel and agent keep for themselves. The kernel and initramfs take about
 * 33 MiB; what is left of this lies above the limit, so that the container meets its own limit
 * before the guest as a whole runs out.
 */
export const GUEST_OVERHEAD_MIB = 64;

/** The kernel describes each page of 4 KiB in 64 bytes (struct page). */
const PAGE_RECORDS = 64;

/** MiB of a VM whose `free` shows `limitMib` in total and about 30 MiB more, whatever the limit. */
function guestMemory(limitMib: number): number {
  return limitMib + GUEST_OVERHEAD_MIB + Math.ceil(limitMib / PAGE_RECORDS);
}

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
 * The size of the VM for a pod: memory is the limit plus what the guest itself needs, vCPUs are the CPU
 * quota rounded up; a limit that is not stated comes from the defaults. A Kubernetes sandbox
 * states the sum of its containers as annotations.
 */
export function machineSize(spec: Spec, defaults: MachineDefaults, vcpusMax: number): MachineConfig {
  const pod = sandboxLimits(spec);
  const own = spec.linux?.resources;
  const bytes = pod.memoryBytes ?? own?.memory?.limit;
  const wanted = bytes !== undefined && bytes > 0 ? Math.ceil(bytes / 2 ** 20) : undefined;
  const limited = wanted !== undefined && wanted <= MEMORY_MIB_MAX;
  const memoryMib = limited ? guestMemory(wanted) : defaults.memoryMib;
  const quota = pod.cpuQuotaUs ?? own?.cpu?.quota;
  const period = pod.cpuPeriodUs ?? own?.cpu?.period ?? 100_000;
  const vcpus = quota !== undefined && quota > 0 && period > 0 ? Math.ceil(quota / period) : defaults.vcpus;
  return {
    vcpuCount: Math.min(Math.max(vcpus, 1), vcpusMax),
    memSizeMib: Math.max(memoryMib, MEMORY_MIB_MIN),
  };
}
