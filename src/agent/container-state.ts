import { SquibError } from '../base/errors.ts';

/** `starting` is between the start and the execve; `deleting` ends with the record. */
export type ContainerState = 'creating' | 'created' | 'starting' | 'running' | 'stopped' | 'deleting';

/** What can happen to a container: the calls of the protocol, and news of its process. */
export type ContainerMove = 'ready' | 'start' | 'executed' | 'exit' | 'delete' | 'delete-failed';

const MOVES: Readonly<Record<ContainerMove, Partial<Record<ContainerState, ContainerState>>>> = {
  ready: { creating: 'created' },
  start: { created: 'starting' },
  executed: { starting: 'running' },
  exit: { created: 'stopped', starting: 'stopped', running: 'stopped', deleting: 'deleting' },
  delete: { created: 'deleting', stopped: 'deleting' },
  'delete-failed': { deleting: 'stopped' },
};

/**
 * The state after a move.
 * @throws SquibError `failed-precondition` naming container, move and state.
 */
export function stateAfter(state: ContainerState, move: ContainerMove, id: string): ContainerState {
  const next = MOVES[move][state];
  if (next !== undefined) return next;
  const legal = Object.keys(MOVES[move]).join(' or ');
  throw new SquibError(
    'failed-precondition',
    `cannot ${move} container "${id}": it is ${state}, not ${legal}`,
  );
}
