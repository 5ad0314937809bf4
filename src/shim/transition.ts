import { SquibError } from '../base/errors.ts';

/** How a process ended. */
export interface Exit {
  /** The exit code, or 128 + the signal. */
  readonly status: number;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
}

/** Where the init process of a container stands. Further states (paused) come with their verbs. */
export type TaskState =
  | { readonly name: 'created' }
  | { readonly name: 'running' }
  | { readonly name: 'stopped'; readonly exit: Exit }
  | { readonly name: 'deleted' };

type Name = TaskState['name'];
export type Verb = 'start' | 'exit' | 'delete' | 'kill';

type Outcome =
  | { readonly to: Name }
  | { readonly refuse: string; readonly code: 'failed-precondition' | 'not-found' };

const refuse = (words: string): Outcome => ({ refuse: words, code: 'failed-precondition' });
const gone = (words: string): Outcome => ({ refuse: words, code: 'not-found' });

/**
 * What each verb does in each state. The words are the runc shim's: clients and humans know them.
 * `kill` only asks whether there is something to signal; `exit` of a stopped one changes nothing.
 */
const TABLE: Readonly<Record<Name, Readonly<Record<Verb, Outcome>>>> = {
  created: {
    start: { to: 'running' },
    exit: { to: 'stopped' },
    delete: { to: 'deleted' },
    kill: { to: 'created' },
  },
  running: {
    start: refuse('cannot start a running process'),
    exit: { to: 'stopped' },
    delete: refuse('cannot delete a running process'),
    kill: { to: 'running' },
  },
  stopped: {
    start: refuse('cannot start a stopped process'),
    exit: { to: 'stopped' },
    delete: { to: 'deleted' },
    kill: gone('process already finished'),
  },
  deleted: {
    start: refuse('cannot start a deleted process'),
    exit: { to: 'deleted' },
    delete: gone('cannot delete a deleted process'),
    kill: gone('cannot kill a deleted process'),
  },
};

/**
 * The name of the state that `verb` leads to.
 * @throws SquibError with runc's words when the state does not allow the verb.
 */
export function transition(state: TaskState, verb: Verb): Name {
  const outcome = TABLE[state.name][verb];
  if ('to' in outcome) return outcome.to;
  throw new SquibError(outcome.code, outcome.refuse);
}
