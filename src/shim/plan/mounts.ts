import type { SpecMount } from '../../../oci/runtime-spec.ts';
import { SquibError } from '../../base/errors.ts';
import { MS_BIND, parseMountOptions } from './mount-options.ts';

export interface PlannedMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly flags: number;
  readonly data: string;
  readonly propagation: number;
}

/** File systems that hold nothing of the host, so that the guest's own are the right ones. */
const GUEST_TYPES = new Set(['cgroup', 'devpts', 'mqueue', 'proc', 'sysfs', 'tmpfs', 'cgroup2']);

/**
 * Mounts of the spec for the guest, in the spec's order.
 * @throws SquibError `unimplemented` for directories and files of the host and for options that
 *   mount(2) does not know.
 */
export function planMounts(mounts: readonly SpecMount[]): PlannedMount[] {
  return mounts.map((mount, i) => {
    const { destination, source = '' } = mount;
    const { flags, propagation, data, extensions } = parseMountOptions(mount.options ?? []);
    const type = flags & MS_BIND ? 'bind' : (mount.type ?? '');
    if (!destination.startsWith('/')) {
      throw new SquibError(
        'invalid-argument',
        `mounts[${i}].destination: "${destination}" is not an absolute path`,
      );
    }
    if (type === 'bind') {
      throw new SquibError(
        'unimplemented',
        `mount of the host's "${source}" at "${destination}": host directories and files are not supported yet`,
      );
    }
    if (!GUEST_TYPES.has(type)) {
      throw new SquibError(
        'unimplemented',
        `mount of type "${type}" at "${destination}"; supported: ${[...GUEST_TYPES].join(', ')}`,
      );
    }
    if (extensions.length > 0 || mount.uidMappings?.length || mount.gidMappings?.length) {
      const what = extensions.join(', ') || 'id mappings';
      throw new SquibError('unimplemented', `mount at "${destination}": option ${what} is not supported`);
    }
    return { destination, type: type === 'cgroup2' ? 'cgroup' : type, source, flags, data, propagation };
  });
}
