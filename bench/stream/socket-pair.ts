import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { sleep } from '../../src/base/deadline.ts';
import { SerialHost } from '../../src/vsock/host.ts';
import { Pinger } from './pinger.ts';
import { CONTROL, SINK, SOURCE } from './ports.ts';
import { callsOf, type Row, transferRow } from './row.ts';

const PEER = fileURLToPath(new URL('peer.ts', import.meta.url));
const IDLE_MS = 1500;
const BLOCK = Buffer.alloc(65_536, 2);

/** A second Node process at the other end of a socketpair, which is how the VMM has its end. */
export async function betweenProcesses(bytes: number): Promise<Row[]> {
  const rows: Row[] = [];
  rows.push(await raw('host to guest', bytes, 0), await raw('guest to host', bytes, 1));
  for (const kib of [16, 64, 256, 1024]) rows.push(...(await muxed(bytes, kib * 1024)));
  return rows;
}

function peer(window: number): { child: ChildProcess; wire: Duplex } {
  const child = spawn(process.execPath, [PEER, String(window)], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
  });
  const wire = child.stdio[3] as Duplex;
  wire.on('error', () => {});
  return { child, wire };
}

/** The socketpair without our frames: what there is to be had. */
async function raw(what: string, bytes: number, direction: number): Promise<Row> {
  const { child, wire } = peer(0);
  await once(child, 'spawn');
  await sleep(300);
  const start = performance.now();
  wire.write(Uint8Array.of(direction));
  await (direction === 1 ? receive(wire, bytes) : send(wire, bytes));
  const row = transferRow('socketpair, no frames', what, bytes, performance.now() - start, []);
  wire.destroy();
  await once(child, 'exit');
  return row;
}

/** Windows of `window` bytes at both ends. */
async function muxed(bytes: number, window: number): Promise<Row[]> {
  const name = `socketpair, ${window / 1024} KiB window`;
  const { child, wire } = peer(window);
  const host = SerialHost.attach(wire, { window });
  await host.ready;
  const call = echo(host.connect(CONTROL));
  const idle = new Pinger(call);
  await sleep(IDLE_MS);
  const rows: Row[] = [];
  const calls = callsOf(await idle.stop());
  rows.push({ wire: name, what: 'idle', ...(calls && { calls }) });
  for (const what of ['host to guest', 'guest to host', 'both ways'] as const) {
    const pinger = new Pinger(call);
    const start = performance.now();
    const moves: Promise<void>[] = [];
    if (what !== 'guest to host') moves.push(send(host.connect(SINK), bytes));
    if (what !== 'host to guest') moves.push(receive(host.connect(SOURCE), bytes));
    await Promise.all(moves);
    const ms = performance.now() - start;
    rows.push(transferRow(name, what, bytes * moves.length, ms, await pinger.stop()));
  }
  host.close();
  await once(child, 'exit');
  return rows;
}

/** A call that sends 64 bytes to the echo and resolves when they are back. */
function echo(stream: Duplex): () => Promise<void> {
  const request = Buffer.alloc(64);
  const waiting: (() => void)[] = [];
  let have = 0;
  stream.on('error', () => {});
  stream.on('data', (chunk: Buffer) => {
    for (have += chunk.length; have >= request.length; have -= request.length) waiting.shift()?.();
  });
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      stream.write(request);
    });
}

/** Resolves when the other end has read everything. */
async function send(stream: Duplex, bytes: number): Promise<void> {
  stream.on('error', () => {});
  for (let left = bytes; left > 0; left -= BLOCK.length) {
    if (!stream.write(BLOCK)) await once(stream, 'drain');
  }
  if (stream.constructor.name === 'Socket') return;
  stream.end().resume();
  await once(stream, 'end');
}

/** Resolves when that many bytes have come; cuts the stream then. */
async function receive(stream: Duplex, bytes: number): Promise<void> {
  let left = bytes;
  await new Promise<void>((resolve) => {
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left <= 0) resolve();
    });
  });
  stream.destroy();
}
