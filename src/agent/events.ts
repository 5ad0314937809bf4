import { SquibError } from '../base/errors.ts';
import { Event, type Event as EventMessage } from '../proto/agent.ts';
import type { Init } from '../proto/codec.ts';
import type { Call } from '../ttrpc/server-connection.ts';

/** One exit per container and exec while the shim does not listen. */
export const EVENTS_MAX = 4096;

/** What happened in the VM, for the one listener; kept in order while there is none. */
export class Events {
  readonly #waiting: Uint8Array[] = [];
  #listener: Call | undefined;

  /** The oldest event goes when nobody has listened for EVENTS_MAX of them. */
  emit(event: Init<EventMessage>): void {
    const bytes = Event.encode(event);
    if (this.#listener !== undefined) {
      this.#listener.send(bytes);
      return;
    }
    if (this.#waiting.length >= EVENTS_MAX) this.#waiting.shift();
    this.#waiting.push(bytes);
  }

  /** @throws SquibError `failed-precondition` while another listens. */
  listen(call: Call): void {
    if (this.#listener !== undefined) {
      throw new SquibError('failed-precondition', 'Events: a stream is open already');
    }
    if (!call.streaming) throw new SquibError('invalid-argument', 'Events answers with a stream');
    this.#listener = call;
    call.onClosed = () => {
      this.#listener = undefined;
    };
    for (const bytes of this.#waiting.splice(0)) call.send(bytes);
  }
}
