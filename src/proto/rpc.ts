/** A service's methods as a table: what a server registers and a client calls by. */
import type { Codec } from './codec.ts';

/** One method with the codecs of its two messages. */
export interface Rpc<Req, Res> {
  readonly request: Codec<Req>;
  readonly response: Codec<Res>;
}

export const rpc = <Req, Res>(request: Codec<Req>, response: Codec<Res>): Rpc<Req, Res> => ({
  request,
  response,
});
