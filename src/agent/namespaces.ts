import { SquibError } from '../base/errors.ts';
import type { Namespace } from '../proto/agent.ts';
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUTS,
} from './sys/constants.ts';

/** A process of the VM whose namespace is joined. */
export interface NamespaceJoin {
  readonly cloneFlag: number;
  readonly pid: number;
}

/** What becomes of each namespace of a new process; those not named are the agent's own. */
export interface NamespacePlan {
  /** CLONE_NEW* for clone; the mount namespace is always new. */
  readonly cloneFlags: number;
  readonly newCgroup: boolean;
  readonly newNetwork: boolean;
  readonly newPid: boolean;
  /** Joined by the child itself. */
  readonly joins: readonly NamespaceJoin[];
  /** Its pid namespace is joined, which only a parent can do for its child. */
  readonly pidOf: number | undefined;
}

/** The files under /proc/<pid>/ns. */
const FILES: ReadonlyMap<number, string> = new Map([
  [CLONE_NEWNS, 'mnt'],
  [CLONE_NEWCGROUP, 'cgroup'],
  [CLONE_NEWUTS, 'uts'],
  [CLONE_NEWIPC, 'ipc'],
  [CLONE_NEWPID, 'pid'],
  [CLONE_NEWNET, 'net'],
]);

export function namespaceFile(pid: number | 'self', cloneFlag: number): string {
  return `/proc/${pid}/ns/${FILES.get(cloneFlag)}`;
}

/**
 * @param pidOf the init process of a container that runs.
 * @throws SquibError `unimplemented` for a user, time or unknown namespace and for a joined mount
 *   namespace; `invalid-argument` for one that is named twice.
 */
export function planNamespaces(
  namespaces: readonly Namespace[],
  pidOf: (container: string) => number,
): NamespacePlan {
  const seen = new Set<number>();
  const joins: NamespaceJoin[] = [];
  let cloneFlags = CLONE_NEWNS;
  for (const { cloneFlag, container } of namespaces) {
    const hex = `0x${cloneFlag.toString(16)}`;
    if (!FILES.has(cloneFlag)) throw new SquibError('unimplemented', `namespace ${hex} is not supported`);
    if (seen.has(cloneFlag)) throw new SquibError('invalid-argument', `namespace ${hex} is named twice`);
    seen.add(cloneFlag);
    if (container === '') cloneFlags |= cloneFlag;
    else if (cloneFlag === CLONE_NEWNS) {
      throw new SquibError('unimplemented', `joining the mount namespace of "${container}" is not supported`);
    } else joins.push({ cloneFlag, pid: pidOf(container) });
  }
  const has = (flag: number) => (cloneFlags & flag) !== 0;
  return {
    // A cgroup namespace has the cgroup as root in which it is made, so the child makes it later.
    cloneFlags: cloneFlags & ~CLONE_NEWCGROUP,
    newCgroup: has(CLONE_NEWCGROUP),
    newNetwork: has(CLONE_NEWNET),
    newPid: has(CLONE_NEWPID),
    joins: joins.filter((join) => join.cloneFlag !== CLONE_NEWPID),
    pidOf: joins.find((join) => join.cloneFlag === CLONE_NEWPID)?.pid,
  };
}
