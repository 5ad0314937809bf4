/** The size of a VM: Firecracker's `machine-config`. */
export interface MachineConfig {
  readonly vcpuCount: number;
  readonly memSizeMib: number;
}
