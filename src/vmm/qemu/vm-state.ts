import { SquibError } from '../../base/errors.ts';
import type { VmState } from '../contract.ts';

/** The verbs of a VM; each is legal in the states that the table names. */
export type VmVerb = 'pause' | 'resume' | 'putDrive' | 'removeDrive' | 'stop';

interface Transition {
  readonly from: readonly VmState[];
  readonly to: VmState | 'same';
}

const TRANSITIONS: Readonly<Record<VmVerb, Transition>> = {
  pause: { from: ['running'], to: 'paused' },
  resume: { from: ['paused'], to: 'running' },
  putDrive: { from: ['running'], to: 'same' },
  removeDrive: { from: ['running'], to: 'same' },
  stop: { from: ['running', 'paused', 'stopped'], to: 'stopped' },
};

/**
 * The state after `verb`.
 * @throws SquibError `failed-precondition` if the verb is not legal in `state`.
 */
export function transition(id: string, state: VmState, verb: VmVerb): VmState {
  const { from, to } = TRANSITIONS[verb];
  if (!from.includes(state)) {
    throw new SquibError(
      'failed-precondition',
      `VM ${id}: ${verb} while ${state}: it needs a VM that is ${from.join(' or ')}`,
    );
  }
  return to === 'same' ? state : to;
}
