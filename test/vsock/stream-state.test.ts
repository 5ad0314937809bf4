import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SquibError } from '../../src/base/errors.ts';
import {
  canReceive,
  canWrite,
  type StreamNews,
  type StreamState,
  type StreamVerb,
  stateAfterNews,
  stateAfterVerb,
} from '../../src/vsock/stream-state.ts';

const VERBS: readonly StreamVerb[] = ['write', 'shutdown', 'reset'];
const NEWS: readonly StreamNews[] = ['accept', 'data', 'credit', 'peer-shutdown', 'peer-reset'];
const STATES: readonly StreamState[] = ['opening', 'open', 'half-closed-local', 'half-closed-remote'];

/** The rows of the protocol page's table of states, cells by column. */
function pageTable(): Map<string, string[]> {
  const page = readFileSync(new URL('../../docs/protocol/serial-stream.md', import.meta.url), 'utf8');
  const rows = page
    .slice(page.indexOf('## States of a stream'))
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  return new Map(rows.map(([name = '', ...cells]) => [name, cells]));
}

test('the transition table is the one of the protocol page', () => {
  const page = pageTable();
  for (const state of STATES) {
    const cells = page.get(state);
    assert.ok(cells, `${state} has a row`);
    for (const [i, move] of [...VERBS, ...NEWS].entries()) {
      const after = (): StreamState =>
        i < VERBS.length
          ? stateAfterVerb(state, move as StreamVerb, 1)
          : stateAfterNews(state, move as StreamNews, 1);
      const cell: string | undefined = cells[i];
      const code: string | undefined =
        cell === '–' ? 'failed-precondition' : cell === '✗' ? 'data-loss' : undefined;
      if (code === undefined) assert.equal(after(), cell === 'same' ? state : cell, `${state} ${move}`);
      else assert.throws(after, (e) => e instanceof SquibError && e.code === code, `${state} ${move}`);
    }
  }
});

test('a closed stream takes no move', () => {
  for (const verb of VERBS) assert.throws(() => stateAfterVerb('closed', verb, 9), /stream 9: it is closed/);
  for (const news of NEWS) assert.throws(() => stateAfterNews('closed', news, 9), /stream 9/);
});

test('who may send', () => {
  const states: StreamState[] = [...STATES, 'closed'];
  assert.deepEqual(states.filter(canWrite), ['open', 'half-closed-remote']);
  assert.deepEqual(states.filter(canReceive), ['open', 'half-closed-local']);
});
