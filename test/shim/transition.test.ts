import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SquibError } from '../../src/base/errors.ts';
import { type TaskState, transition, type Verb } from '../../src/shim/transition.ts';

const EXIT = { status: 0, atMs: 0 };
const STATES: readonly TaskState[] = [
  { name: 'created' },
  { name: 'running' },
  { name: 'stopped', exit: EXIT },
  { name: 'deleted' },
];

/** Every state with every verb: where it leads, or the words of the refusal. */
const TABLE: Readonly<Record<Verb, readonly string[]>> = {
  start: [
    'running',
    'failed-precondition: cannot start a running process',
    'failed-precondition: cannot start a stopped process',
    'failed-precondition: cannot start a deleted process',
  ],
  exit: ['stopped', 'stopped', 'stopped', 'deleted'],
  delete: [
    'deleted',
    'failed-precondition: cannot delete a running process',
    'deleted',
    'not-found: cannot delete a deleted process',
  ],
  kill: [
    'created',
    'running',
    'not-found: process already finished',
    'not-found: cannot kill a deleted process',
  ],
};

for (const verb of Object.keys(TABLE) as Verb[]) {
  test(`${verb} in every state`, () => {
    const outcomes = STATES.map((state) => {
      try {
        return transition(state, verb);
      } catch (thrown) {
        assert.ok(thrown instanceof SquibError);
        return `${thrown.code}: ${thrown.message}`;
      }
    });
    assert.deepEqual(outcomes, TABLE[verb]);
  });
}
