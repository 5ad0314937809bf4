import type { Spec, SpecProcess } from '../../../oci/runtime-spec.ts';
import { SquibError } from '../../base/errors.ts';
import type { CreateContainerRequest, Process, Rootfs, Stdio } from '../../proto/agent.ts';
import type { Init } from '../../proto/codec.ts';
import { capabilityBits } from './capability-set.ts';
import { planResources } from './cgroup-resources.ts';
import { planDevices } from './device.ts';
import { planMounts } from './mounts.ts';
import { type PodPlace, planNamespaces } from './namespaces.ts';
import { refuseUnsupported, refuseUnsupportedProcess } from './refusals.ts';
import { planRlimits } from './rlimit.ts';

/** What a plan must know beside the spec. */
export interface PlanInput extends PodPlace {
  readonly id: string;
  readonly spec: Spec;
  /** Told of each setting that is left out because the guest has no use for it. */
  readonly ignored: (what: string) => void;
}

/** A container as the agent is told, but for its disks and its streams. */
export type ContainerPlan = Omit<Init<CreateContainerRequest>, 'rootfs' | 'process'> & {
  readonly rootReadonly: boolean;
  readonly process: Init<Process>;
};

/**
 * Translates a spec for the agent. Pure.
 * @throws SquibError `invalid-argument` for a spec that makes no sense, `unimplemented` for one
 *   that asks what a microVM does not give; either names the JSON path.
 */
export function planContainer(input: PlanInput): ContainerPlan {
  const { spec, ignored } = input;
  const { linux } = spec;
  if (spec.process === undefined) throw new SquibError('invalid-argument', 'config.json: process is missing');
  if (linux === undefined) throw new SquibError('invalid-argument', 'config.json: linux is missing');
  refuseUnsupported(spec);
  if (linux.mountLabel) ignored('linux.mountLabel');
  return {
    id: input.id,
    rootReadonly: spec.root?.readonly ?? false,
    process: planProcess(spec.process, ignored),
    hostname: spec.hostname ?? '',
    domainname: spec.domainname ?? '',
    mounts: planMounts(spec.mounts ?? []),
    namespaces: planNamespaces(linux.namespaces ?? [], input),
    maskedPaths: absolutePaths(linux.maskedPaths ?? [], 'linux.maskedPaths'),
    readonlyPaths: absolutePaths(linux.readonlyPaths ?? [], 'linux.readonlyPaths'),
    devices: planDevices(linux.devices ?? []),
    sysctls: [...(linux.sysctl ?? [])].map(([key, value]) => ({ key, value })),
    resources: planResources(linux.resources, ignored),
  };
}

/** Adds to a plan what the sandbox decides when the container is created. */
export function agentRequest(
  plan: ContainerPlan,
  disks: Pick<Rootfs, 'lowerSerial' | 'upperSerial'>,
  stdio: Stdio,
): Init<CreateContainerRequest> {
  const { rootReadonly, process, ...rest } = plan;
  return { ...rest, rootfs: { ...disks, readonly: rootReadonly }, process: { ...process, stdio } };
}

function planProcess(process: SpecProcess, ignored: (what: string) => void): Init<Process> {
  refuseUnsupportedProcess(process);
  const args = process.args ?? [];
  if (args.length === 0) throw new SquibError('invalid-argument', 'process.args: must not be empty');
  if (!process.cwd.startsWith('/')) {
    throw new SquibError('invalid-argument', `process.cwd: "${process.cwd}" must be an absolute path`);
  }
  if (process.apparmorProfile) ignored('process.apparmorProfile');
  if (process.selinuxLabel) ignored('process.selinuxLabel');
  const { user, capabilities = {} } = process;
  const bits = (names: readonly string[] | undefined) =>
    capabilityBits(names ?? [], (name) => ignored(`capability ${name}`));
  return {
    args,
    env: process.env ?? [],
    cwd: process.cwd,
    user: {
      uid: user.uid,
      gid: user.gid,
      additionalGids: user.additionalGids ?? [],
      umask: user.umask ?? 0,
      hasUmask: user.umask !== undefined,
    },
    capabilities: {
      bounding: bits(capabilities.bounding),
      effective: bits(capabilities.effective),
      inheritable: bits(capabilities.inheritable),
      permitted: bits(capabilities.permitted),
      ambient: bits(capabilities.ambient),
    },
    rlimits: planRlimits(process.rlimits ?? []),
    noNewPrivileges: process.noNewPrivileges ?? false,
    oomScoreAdj: process.oomScoreAdj ?? 0,
    terminal: false,
  };
}

function absolutePaths(paths: readonly string[], at: string): readonly string[] {
  paths.forEach((path, i) => {
    if (!path.startsWith('/')) {
      throw new SquibError('invalid-argument', `${at}[${i}]: "${path}" is not an absolute path`);
    }
  });
  return paths;
}
