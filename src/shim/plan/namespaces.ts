import type { SpecNamespace } from '../../../oci/runtime-spec.ts';
import { SquibError } from '../../base/errors.ts';

/** CLONE_NEW* of linux/sched.h under the runtime spec's names. */
const CLONE_FLAGS: Readonly<Record<string, number>> = {
  time: 0x80,
  mount: 0x20000,
  cgroup: 0x2000000,
  uts: 0x4000000,
  ipc: 0x8000000,
  user: 0x10000000,
  pid: 0x20000000,
  network: 0x40000000,
};

/** A container that shares one of these with its host would share it with the VM instead. */
const MUST_BE_OWN = ['mount', 'pid', 'ipc', 'uts', 'network'];

export interface PlannedNamespace {
  readonly cloneFlag: number;
  /** Whose namespace to join; '': a new one. */
  readonly container: string;
}

export interface PodPlace {
  /** The pod's sandbox container, which other containers join; undefined: there is none. */
  readonly sandboxId: string | undefined;
  /** The process id that we report for every container of the pod. */
  readonly podPid: number;
}

/**
 * Namespaces of the spec. A path is honoured where it means the pod's sandbox, which containerd
 * knows by the process id that we reported: /proc/<pid>/ns/<name>.
 * @throws SquibError `unimplemented` for namespaces of the host.
 */
export function planNamespaces(namespaces: readonly SpecNamespace[], place: PodPlace): PlannedNamespace[] {
  const planned = new Map<number, PlannedNamespace>();
  for (const [i, { type, path }] of namespaces.entries()) {
    const at = `linux.namespaces[${i}]`;
    const cloneFlag = Object.hasOwn(CLONE_FLAGS, type) ? CLONE_FLAGS[type] : undefined;
    if (cloneFlag === undefined) {
      throw new SquibError(
        'invalid-argument',
        `${at}.type: "${type}"; expected one of ${Object.keys(CLONE_FLAGS).join(', ')}`,
      );
    }
    if (planned.has(cloneFlag)) {
      throw new SquibError('invalid-argument', `${at}.type: malformed spec, "${type}" is there twice`);
    }
    if (type === 'user' || type === 'time') {
      throw new SquibError('unimplemented', `${at}: ${type} namespaces are not supported`);
    }
    planned.set(cloneFlag, { cloneFlag, container: path ? joined(path, type, place) : '' });
  }
  for (const type of MUST_BE_OWN) {
    if (!planned.has(CLONE_FLAGS[type] as number)) {
      throw new SquibError(
        'unimplemented',
        `the spec asks for the host's ${type} namespace; a microVM has its own kernel and cannot share it`,
      );
    }
  }
  const cgroup = CLONE_FLAGS['cgroup'] as number;
  if (!planned.has(cgroup)) planned.set(cgroup, { cloneFlag: cgroup, container: '' });
  return [...planned.values()];
}

function joined(path: string, type: string, place: PodPlace): string {
  const match = /^\/proc\/(\d+)\/ns\/[a-z]+$/.exec(path);
  if (match && Number(match[1]) === place.podPid && place.sandboxId !== undefined) return place.sandboxId;
  throw new SquibError(
    'unimplemented',
    `the spec joins the ${type} namespace "${path}" of the host; a microVM can only join those of its own pod`,
  );
}
