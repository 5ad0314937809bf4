/** What the VM boots: Firecracker's `boot-source`. */
export interface BootSource {
  /** An ELF vmlinux with a PVH entry (host path). */
  readonly kernelImagePath: string;
  /** The initramfs, compressed or not (host path). */
  readonly initrdPath: string;
  /** Further kernel command line, behind what the engine needs; nothing that knows a container. */
  readonly bootArgs: string;
}
