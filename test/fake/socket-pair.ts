import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Two connected unix stream sockets, as the VMM and the shim share them. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const dir = mkdtempSync(join(tmpdir(), 'squib-pair-'));
  const server = createServer({ allowHalfOpen: true });
  try {
    server.listen(join(dir, 'socket'));
    await once(server, 'listening');
    const accepted = once(server, 'connection');
    const here = connect({ path: join(dir, 'socket'), allowHalfOpen: true });
    await once(here, 'connect');
    const [there] = await accepted;
    return [here, there as Socket];
  } finally {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
