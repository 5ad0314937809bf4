import { SquibError } from '../base/errors.ts';
import { breach } from './frame.ts';

/** Where a stream is in its life; docs/protocol/serial-stream.md, "States of a stream". */
export type StreamState = 'opening' | 'open' | 'half-closed-local' | 'half-closed-remote' | 'closed';

/** What the program asks of a stream. */
export type StreamVerb = 'write' | 'shutdown' | 'reset';

/** What the peer's frames do to a stream. */
export type StreamNews = 'accept' | 'data' | 'credit' | 'peer-shutdown' | 'peer-reset';

type Moves = Readonly<Partial<Record<StreamVerb | StreamNews, StreamState>>>;

/** The one transition table. A move that a state lacks is illegal there. */
const TRANSITIONS: Readonly<Record<StreamState, Moves>> = {
  opening: { reset: 'closed', accept: 'open', 'peer-reset': 'closed' },
  open: {
    write: 'open',
    shutdown: 'half-closed-local',
    reset: 'closed',
    data: 'open',
    credit: 'open',
    'peer-shutdown': 'half-closed-remote',
    'peer-reset': 'closed',
  },
  'half-closed-local': {
    reset: 'closed',
    data: 'half-closed-local',
    credit: 'half-closed-local',
    'peer-shutdown': 'closed',
    'peer-reset': 'closed',
  },
  'half-closed-remote': {
    write: 'half-closed-remote',
    shutdown: 'closed',
    reset: 'closed',
    credit: 'half-closed-remote',
    'peer-reset': 'closed',
  },
  closed: {},
};

/**
 * The state after a verb.
 * @throws SquibError `failed-precondition` where the verb is illegal.
 */
export function stateAfterVerb(state: StreamState, verb: StreamVerb, stream: number): StreamState {
  const next = TRANSITIONS[state][verb];
  if (next === undefined) {
    throw new SquibError('failed-precondition', `cannot ${verb} stream ${stream}: it is ${state}`);
  }
  return next;
}

/**
 * The state after a frame of the peer.
 * @throws SquibError `data-loss` where the frame is a breach.
 */
export function stateAfterNews(state: StreamState, news: StreamNews, stream: number): StreamState {
  const next = TRANSITIONS[state][news];
  if (next === undefined) throw breach(`peer sent ${news} on stream ${stream}, which is ${state}`);
  return next;
}

/** Whether the program may send DATA, credit given. */
export function canWrite(state: StreamState): boolean {
  return TRANSITIONS[state].write !== undefined;
}

/** Whether the peer may still send DATA, so that granting credit has a point. */
export function canReceive(state: StreamState): boolean {
  return TRANSITIONS[state].data !== undefined;
}
