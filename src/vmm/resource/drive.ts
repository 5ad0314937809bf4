/** A block device of the VM: Firecracker's `drives/{drive_id}`. */
export interface Drive {
  /** [A-Za-z0-9_]{1,32}, unique in the VM. */
  readonly driveId: string;
  /** A raw image on the host. */
  readonly pathOnHost: string;
  readonly isReadOnly: boolean;
  /** The serial number under which the guest finds the disk: [A-Za-z0-9_]{1,20}. */
  readonly serial: string;
}
