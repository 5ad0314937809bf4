/**
 * The guest's ELF on the host, at full speed: PID 1 of new pid, mount, uts, ipc, net and cgroup namespaces,
 * with its serial stream on descriptor 3. Nothing it mounts is seen outside, and killing it ends all it
 * started. It has no disks and the host's cgroups: what needs these is tested in QEMU.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';

/** GUEST_AGENT names another one. */
export const AGENT = process.env['GUEST_AGENT'] ?? join(import.meta.dirname, '../../build/guest/agent');
/** In the environment of the agent: the descriptor of its channel, instead of a virtio-serial port. */
export const CHANNEL_VARIABLE = 'SQUIB_CHANNEL_FD';

const CHANNEL_FD = 3;
/** /run is the agent's own; the same devtmpfs cannot be mounted on itself; everything else it mounts itself. */
const SETUP = 'umount -l /dev; mount -t tmpfs -o mode=755 run /run && exec "$@"';
const UNSHARE = ['--mount', '--pid', '--fork', '--uts', '--ipc', '--net', '--cgroup', '--kill-child'];

export interface NativeAgent {
  /** The host's end of the serial stream. */
  readonly wire: Duplex;
  /** Settles with exit code or signal when the agent is gone. */
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  /** What it wrote to standard output and error so far. */
  log(): string;
  /** Its process id on the host; undefined before it runs and after it ended. */
  pid(): number | undefined;
  /** A field of /proc/<pid>/status in kB, e.g. VmRSS. */
  statusKb(field: string): number;
  /** Kills it and all it started; idempotent. */
  stop(): Promise<void>;
}

/** Why no agent can run natively here; undefined: it can. */
export function nativeAgentMissing(agent: string = AGENT): string | undefined {
  if (!existsSync(agent)) return `no ${agent}: run tools/build-guest`;
  const probe = spawnSync('unshare', [...UNSHARE, '--', 'true'], { encoding: 'utf8' });
  if (probe.error) return `no unshare program: ${probe.error.message}`;
  return probe.status === 0 ? undefined : `no namespaces for this user: ${probe.stderr.trim()}`;
}

export function startNativeAgent(options: { agent?: string; args?: readonly string[] } = {}): NativeAgent {
  const command = [...UNSHARE, '--propagation', 'private', '--', '/bin/sh', '-c', SETUP, 'sh'];
  const child = spawn('unshare', [...command, options.agent ?? AGENT, ...(options.args ?? [])], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', [CHANNEL_VARIABLE]: `${CHANNEL_FD}` },
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  }
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  return {
    wire: child.stdio[CHANNEL_FD] as Duplex,
    exited,
    log: () => log,
    pid: () => firstChild(child),
    statusKb: (field) => statusKb(firstChild(child), field),
    async stop() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function firstChild(child: ChildProcess): number | undefined {
  try {
    const text = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
    return text.trim() === '' ? undefined : Number(text.split(' ')[0]);
  } catch {
    return undefined;
  }
}

function statusKb(pid: number | undefined, field: string): number {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'));
  return Number(line?.[1]);
}
