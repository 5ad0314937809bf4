import { type Duplex, duplexPair } from 'node:stream';
import { silentLogger } from '../../src/base/log.ts';
import { Client } from '../../src/ttrpc/client.ts';
import { type Method, Server } from '../../src/ttrpc/server.ts';

/** A message library of one type: text. A text that starts with "bad" cannot be read or written. */
export const Text = {
  name: 'text',
  encode: (value: string): Uint8Array => {
    if (value.startsWith('bad write')) throw new Error('does not encode');
    return Uint8Array.from(Buffer.from(value));
  },
  decode: (bytes: Uint8Array): string => {
    const value = Buffer.from(bytes).toString();
    if (value.startsWith('bad read')) throw new Error('does not decode');
    return value;
  },
};

/** A server with one service `s`, and a client, over a pair of streams. */
export function connected(methods: Record<string, Method>): {
  server: Server;
  client: Client;
  wires: Duplex[];
} {
  const server = new Server({ logger: silentLogger });
  server.register('s', methods);
  const [a, b] = duplexPair();
  server.serve(a);
  return { server, client: new Client(b), wires: [a, b] };
}

/** Resolves when everything that is under way has had its turn. */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 20);
  });
}
