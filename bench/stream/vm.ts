import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { sleep } from '../../src/base/deadline.ts';
import { container, missing, RealGuest } from '../../test/agent/real-guest.ts';
import { Pinger } from './pinger.ts';
import { callsOf, type Row, transferRow } from './row.ts';

const IDLE_MS = 3000;
const BLOCK = Buffer.alloc(65_536, 3);

/**
 * A microVM with the built agent. What moves the bytes is `dd` in a container, 64 KiB at a time (with
 * less per call its own system calls dominate, under TCG at least). The control call is Pids, answered by the agent's ttrpc.
 */
export async function throughVm(bytes: number): Promise<Row[]> {
  const why = missing();
  if (why !== undefined) {
    console.error(`vm: skipped: ${why}`);
    return [];
  }
  const guest = await RealGuest.boot();
  try {
    await guest.call('Configure', {
      timeSeconds: Math.floor(Date.now() / 1000),
      timeNanos: 0,
      entropy: randomBytes(64),
      hostname: 'bench',
    });
    return await measure(guest, bytes);
  } finally {
    await guest.close();
  }
}

/** As the VMM's command line has it: a figure under TCG says nothing about KVM. */
function acceleratorOf(guest: RealGuest): string {
  const words = readFileSync(`/proc/${guest.vm.pid}/cmdline`, 'latin1').split('\0');
  const found = words[words.indexOf('-accel') + 1] ?? 'unknown accelerator';
  return (found.split(',')[0] as string).toUpperCase();
}

async function measure(guest: RealGuest, bytes: number): Promise<Row[]> {
  const wire = `microVM, ${acceleratorOf(guest)}`;
  const lower = await guest.lower();
  const create = async (id: string, command: string, port: Record<string, number>) => {
    const init = container(lower, await guest.upper(), command);
    await guest.call('CreateContainer', { ...init, id, process: { ...init.process, stdio: port } });
  };
  await create('idle', 'sleep 100000', {});
  await guest.call('StartProcess', { container: 'idle' });
  const pids = () => guest.call('Pids', { container: 'idle' });
  const idle = new Pinger(pids);
  await sleep(IDLE_MS);
  const calls = callsOf(await idle.stop());
  const rows: Row[] = [{ wire, what: 'idle', ...(calls && { calls }) }];

  const stdoutPort = guest.port();
  await create('out', `dd if=/dev/zero bs=64k count=${bytes / BLOCK.length} 2>/dev/null`, { stdoutPort });
  rows.push(await timed(wire, 'guest to host', bytes, pids, () => receive(guest, 'out', stdoutPort)));
  const stdinPort = guest.port();
  await create('in', 'dd of=/dev/null bs=64k 2>/dev/null', { stdinPort });
  rows.push(await timed(wire, 'host to guest', bytes, pids, () => send(guest, stdinPort, bytes)));
  return rows;
}

async function timed(
  wire: string,
  what: string,
  bytes: number,
  call: () => Promise<unknown>,
  move: () => Promise<void>,
): Promise<Row> {
  const pinger = new Pinger(call);
  const start = performance.now();
  await move();
  const ms = performance.now() - start;
  return transferRow(wire, what, bytes, ms, await pinger.stop());
}

/** The time counts from StartProcess: the process writes as soon as it lives. */
async function receive(guest: RealGuest, id: string, port: number): Promise<void> {
  const stream = guest.host.connect(port);
  stream.resume();
  await guest.call('StartProcess', { container: id });
  await once(stream, 'end');
  stream.destroy();
}

async function send(guest: RealGuest, port: number, bytes: number): Promise<void> {
  await guest.call('StartProcess', { container: 'in' });
  const stream = guest.host.connect(port);
  for (let left = bytes; left > 0; left -= BLOCK.length) {
    if (!stream.write(BLOCK)) await once(stream, 'drain');
  }
  stream.end().resume();
  await once(stream, 'end');
}
