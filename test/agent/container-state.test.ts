import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ContainerMove, type ContainerState, stateAfter } from '../../src/agent/container-state.ts';

const STATES: readonly ContainerState[] = [
  'creating',
  'created',
  'starting',
  'running',
  'stopped',
  'deleting',
];
const LEGAL: Readonly<Record<ContainerMove, string>> = {
  ready: 'creating>created',
  start: 'created>starting',
  executed: 'starting>running',
  exit: 'created>stopped starting>stopped running>stopped deleting>deleting',
  delete: 'created>deleting stopped>deleting',
  'delete-failed': 'deleting>stopped',
};

test('every move from every state: the table of docs/protocol/agent.md, all else is refused', () => {
  for (const [move, legal] of Object.entries(LEGAL) as [ContainerMove, string][]) {
    for (const state of STATES) {
      const next = legal
        .split(' ')
        .find((pair) => pair.startsWith(`${state}>`))
        ?.split('>')[1];
      if (next !== undefined) assert.equal(stateAfter(state, move, 'c'), next);
      else {
        assert.throws(
          () => stateAfter(state, move, 'c'),
          (e: { code: string; message: string }) => {
            assert.equal(e.code, 'failed-precondition');
            assert.ok(e.message.startsWith(`cannot ${move} container "c": it is ${state}, not `), e.message);
            return true;
          },
        );
      }
    }
  }
});
