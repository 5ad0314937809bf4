import type { SpecDevice } from '../../../oci/runtime-spec.ts';
import { SquibError } from '../../base/errors.ts';

const S_IFIFO = 0o010000;
const S_IFCHR = 0o020000;

/**
 * Character devices that are the kernel's own and the same in every Linux, so that a node made in
 * the guest means what it meant on the host. Everything else is a piece of the host's hardware.
 */
const VIRTUAL_DEVICES = new Set(['1:3', '1:5', '1:7', '1:8', '1:9', '5:0', '5:2', '10:200', '10:229']);

export interface PlannedDevice {
  readonly path: string;
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Device nodes of the spec.
 * @throws SquibError `unimplemented` for a device of the host, which the VM does not have.
 */
export function planDevices(devices: readonly SpecDevice[]): PlannedDevice[] {
  return devices.map((device, i) => {
    const { path, type, major = 0, minor = 0 } = device;
    const at = `linux.devices[${i}]`;
    if (!path.startsWith('/')) {
      throw new SquibError('invalid-argument', `${at}.path: "${path}" is not an absolute path`);
    }
    const permissions = device.fileMode ?? 0o666;
    const owner = { uid: device.uid ?? 0, gid: device.gid ?? 0 };
    if (type === 'p') return { path, mode: S_IFIFO | permissions, major: 0, minor: 0, ...owner };
    if ((type === 'c' || type === 'u') && VIRTUAL_DEVICES.has(`${major}:${minor}`)) {
      return { path, mode: S_IFCHR | permissions, major, minor, ...owner };
    }
    if (type !== 'c' && type !== 'u' && type !== 'b') {
      throw new SquibError('invalid-argument', `${at}.type: "${type}"; expected c, u, b or p`);
    }
    throw new SquibError(
      'unimplemented',
      `device ${path} (${type} ${major}:${minor}) belongs to the host; a microVM cannot have it. ` +
        'Run the container without --device and without --privileged',
    );
  });
}
