import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmState } from '../../../src/vmm/contract.ts';
import { transition, type VmVerb } from '../../../src/vmm/qemu/vm-state.ts';

// The contract, spelled out: state × verb → next state, '-' = refused.
const TABLE: Record<VmVerb, Record<VmState, VmState | '-'>> = {
  pause: { running: 'paused', paused: '-', stopped: '-' },
  resume: { running: '-', paused: 'running', stopped: '-' },
  putDrive: { running: 'running', paused: '-', stopped: '-' },
  removeDrive: { running: 'running', paused: '-', stopped: '-' },
  stop: { running: 'stopped', paused: 'stopped', stopped: 'stopped' },
};

for (const [verb, row] of Object.entries(TABLE) as [VmVerb, Record<VmState, VmState | '-'>][]) {
  test(`${verb} in every state`, () => {
    for (const [state, next] of Object.entries(row) as [VmState, VmState | '-'][]) {
      if (next !== '-') assert.equal(transition('v', state, verb), next);
      else {
        assert.throws(() => transition('v', state, verb), {
          code: 'failed-precondition',
          message: new RegExp(`VM v: ${verb} while ${state}: it needs`),
        });
      }
    }
  });
}
