import { SquibError } from '../../base/errors.ts';

/** The size of a VM: Firecracker's `machine-config`. */
export interface MachineConfig {
  readonly vcpuCount: number;
  readonly memSizeMib: number;
}

/** Less does not hold a distribution kernel, its initramfs and the agent. */
export const MEM_MIB_MIN = 64;
/** microvm and the guest kernel go further; a larger number is a unit mistake. */
export const MEM_MIB_MAX = 4 * 1024 * 1024;

/** Checks the ranges. @throws SquibError `invalid-argument` naming the field. */
export function checkMachineConfig(machine: MachineConfig, vcpusMax: number): void {
  checkRange('vcpuCount', machine.vcpuCount, 1, vcpusMax);
  checkRange('memSizeMib', machine.memSizeMib, MEM_MIB_MIN, MEM_MIB_MAX);
}

function checkRange(field: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new SquibError(
    'invalid-argument',
    `machine ${field} is ${value}: expected a whole number ${min} to ${max}`,
  );
}
