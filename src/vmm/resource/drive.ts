import { SquibError } from '../../base/errors.ts';

/** A block device of the VM: Firecracker's `drives/{drive_id}`. */
export interface Drive {
  /** [A-Za-z0-9_]{1,32}, unique in the VM. */
  readonly driveId: string;
  /** A raw image on the host: a regular file or a block device. */
  readonly pathOnHost: string;
  readonly isReadOnly: boolean;
  /** The serial number under which the guest finds the disk: [A-Za-z0-9_]{1,20}. */
  readonly serial: string;
}

/** Checks the fields' form. @throws SquibError `invalid-argument` naming the field. */
export function checkDrive(drive: Drive): void {
  if (!/^[A-Za-z0-9_]{1,32}$/.test(drive.driveId)) {
    throw bad('driveId', drive.driveId, '1 to 32 letters, digits or underscores');
  }
  if (!/^[A-Za-z0-9_]{1,20}$/.test(drive.serial)) {
    throw bad('serial', drive.serial, '1 to 20 letters, digits or underscores');
  }
  if (!drive.pathOnHost.startsWith('/')) throw bad('pathOnHost', drive.pathOnHost, 'an absolute path');
}

function bad(field: string, value: string, expected: string): SquibError {
  return new SquibError(
    'invalid-argument',
    `drive ${field} is ${JSON.stringify(value)}: expected ${expected}`,
  );
}
