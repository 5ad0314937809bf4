import type { Spec, SpecProcess } from '../../../oci/runtime-spec.ts';
import { SquibError } from '../../base/errors.ts';

/**
 * Refuses what a spec asks for and the guest would not do: running a container without, say, its
 * seccomp filter would be a promise broken in silence.
 * @throws SquibError `unimplemented`, naming the JSON path and what to do.
 */
export function refuseUnsupported(spec: Spec): void {
  const { linux, hooks } = spec;
  const refused: [string, boolean, string][] = [
    ['solaris', spec.solaris !== undefined, ''],
    ['windows', spec.windows !== undefined, ''],
    ['vm', spec.vm !== undefined, ''],
    ['zos', spec.zos !== undefined, ''],
    ['linux.uidMappings', (linux?.uidMappings ?? []).length > 0, ''],
    ['linux.gidMappings', (linux?.gidMappings ?? []).length > 0, ''],
    [
      'linux.seccomp',
      linux?.seccomp !== undefined,
      'Run the container with --security-opt seccomp=unconfined (nerdctl) or without --seccomp (ctr)',
    ],
    ['linux.intelRdt', linux?.intelRdt !== undefined, ''],
    ['linux.personality', linux?.personality !== undefined, ''],
    ['linux.timeOffsets', (linux?.timeOffsets?.size ?? 0) > 0, ''],
    ['linux.netDevices', (linux?.netDevices?.size ?? 0) > 0, ''],
  ];
  for (const [name, actions] of Object.entries(hooks ?? {})) {
    refused.push([`hooks.${name}`, (actions ?? []).length > 0, '']);
  }
  for (const [path, isGiven, advice] of refused) if (isGiven) throw unsupported(path, advice);
  const propagation = linux?.rootfsPropagation ?? '';
  if (!['', 'private', 'rprivate', 'slave', 'rslave'].includes(propagation)) {
    throw unsupported(
      `linux.rootfsPropagation "${propagation}"`,
      'Mounts inside a microVM cannot spread to the host',
    );
  }
}

export function refuseUnsupportedProcess(process: SpecProcess): void {
  const refused: [string, boolean][] = [
    ['process.terminal', process.terminal === true],
    ['process.ioPriority', process.ioPriority !== undefined],
    ['process.scheduler', process.scheduler !== undefined],
    ['process.execCPUAffinity', process.execCPUAffinity !== undefined],
  ];
  for (const [path, isGiven] of refused) if (isGiven) throw unsupported(path, '');
}

function unsupported(path: string, advice: string): SquibError {
  return new SquibError('unimplemented', `${path} is not supported yet${advice && `. ${advice}`}`);
}
