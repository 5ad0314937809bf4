import type { Duplex } from 'node:stream';
import { AGENT_METHODS, AGENT_SERVICE, Empty, Event } from '../proto/agent.ts';
import type { Init, MessageOf } from '../proto/codec.ts';
import type { Rpc } from '../proto/rpc.ts';
import { Client } from '../ttrpc/client.ts';

/**
 * The agent answers from memory or after a few system calls, under TCG on a loaded host up to a
 * thousand times slower than on iron. What takes longer is lost.
 */
const CALL_MS = 30_000;

type Methods = typeof AGENT_METHODS;
type UnaryName = Exclude<keyof Methods, 'Events'>;
type RequestOf<N extends UnaryName> = Init<MessageOf<Methods[N]['request']>>;
type ResponseOf<N extends UnaryName> = MessageOf<Methods[N]['response']>;

/** The guest agent's control service, typed by its method table. */
export class AgentClient {
  readonly #client: Client;

  constructor(control: Duplex) {
    this.#client = new Client(control);
  }

  /** @throws SquibError with the agent's code and words; `deadline-exceeded` after `timeoutMs`. */
  call<N extends UnaryName>(
    name: N,
    request: RequestOf<N>,
    timeoutMs: number = CALL_MS,
  ): Promise<ResponseOf<N>> {
    const method = AGENT_METHODS[name] as unknown as Rpc<unknown, ResponseOf<N>>;
    return this.#client.call(AGENT_SERVICE, name, method.request, method.response, request as Init<unknown>, {
      timeoutMs,
    });
  }

  /** The agent's events in its order; ends or fails with the connection. */
  events(): AsyncIterable<Event> {
    return this.#client.stream(AGENT_SERVICE, 'Events', Empty, Event, {});
  }

  close(): void {
    this.#client.close();
  }
}
