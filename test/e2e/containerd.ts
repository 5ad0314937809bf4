import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { sleep, withDeadline } from '../../src/base/deadline.ts';
import { SquibError } from '../../src/base/errors.ts';
import { BUSYBOX_IMAGE, busyboxImage } from '../../tools/busybox-image.ts';
import { mountsBelow, processesUsing, unmount } from './host-state.ts';

const TOP = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
/** Where `tools/install --prefix build/install` puts the runtime. */
export const INSTALLED_BIN = join(TOP, 'build', 'install', 'bin');
export const SQUIB = 'io.containerd.squib.v1';
export const RUNC = 'io.containerd.runc.v2';

/** containerd loads its plugins within a second; a loaded machine gets a lot more. */
const READY_MS = 30_000;
/** After SIGTERM containerd closes its database; past this it is killed. */
const STOP_MS = 10_000;
/** A `ctr` call that hangs is a failed test, not a hung run. A TCG boot fits several times. */
const CTR_MS = 120_000;

export interface ContainerdOptions {
  /** A directory put in front of containerd's PATH; the built install tree by default. */
  readonly bin?: string;
  /** Root, state and sockets go below it; a fresh temporary directory by default. */
  readonly dir?: string;
  /** Added to the environment of containerd, and so of its shims. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether the busybox image is imported at the start; true by default. */
  readonly image?: boolean;
  /** containerd's log level, which its shims follow; debug by default. */
  readonly logLevel?: 'debug' | 'info';
}

export interface CtrOptions {
  /** Written to stdin, which then ends; without it stdin is empty. */
  readonly stdin?: string | Uint8Array;
  /**
   * Ends stdin only when this has come out. Needed for short input: ctr forgets an end of stdin that it sees
   * before the container is created (its CloseIO is never sent), and a reader in the container waits for ever.
   */
  readonly endStdinOn?: string;
  readonly timeoutMs?: number;
}

export interface CtrResult {
  /** The exit status; 128 + n when a signal n ended ctr. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as it came, for output that is not text. */
  readonly stdoutBytes: Buffer;
}

/** What `Containerd.spawnCtr` returns: a running ctr with three pipes. */
export type CtrProcess = ChildProcessByStdio<Writable, Readable, Readable>;

/** Starts a containerd of its own (root, state, sockets) with the busybox image in it. */
export async function startContainerd(options: ContainerdOptions = {}): Promise<Containerd> {
  // Short: a unix socket's path has at most 107 bytes.
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'squib-e2e-'));
  const containerd = new Containerd(dir, options);
  try {
    await containerd.start();
    if (options.image ?? true) await containerd.importImage();
  } catch (thrown) {
    await containerd.close();
    throw thrown;
  }
  return containerd;
}

/** A containerd that one test file owns; `close` leaves nothing of it. */
export class Containerd {
  readonly dir: string;
  readonly address: string;
  /** containerd's `root`: content, snapshots, database. */
  readonly root: string;
  /** containerd's `state`: bundles are below `io.containerd.runtime.v2.task/<namespace>/<id>`. */
  readonly state: string;
  readonly logFile: string;
  readonly #options: ContainerdOptions;
  #process: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();

  constructor(dir: string, options: ContainerdOptions) {
    this.dir = dir;
    this.address = join(dir, 'c.sock');
    this.root = join(dir, 'root');
    this.state = join(dir, 'state');
    this.logFile = join(dir, 'containerd.log');
    this.#options = options;
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, 'config.toml'), configOf(this, options.logLevel ?? 'debug'));
  }

  /** containerd's process id. */
  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new SquibError('failed-precondition', 'containerd does not run');
    return pid;
  }

  /** The bundle directory of a task. */
  bundle(id: string, namespace = 'default'): string {
    return join(this.state, 'io.containerd.runtime.v2.task', namespace, id);
  }

  /** What containerd and its shims logged. */
  log(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8') : '';
  }

  #environment(): NodeJS.ProcessEnv {
    const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
    const path = `${this.#options.bin ?? INSTALLED_BIN}:${process.env['PATH'] ?? ''}`;
    return { ...inherited, PATH: path, ...this.#options.env };
  }

  /** Starts containerd on what is in its directory, and waits until it answers. */
  async start(): Promise<void> {
    const log = openSync(this.logFile, 'a');
    // setpriv: a test run that is killed takes its containerd with it.
    const child = spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', 'containerd', '-c', join(this.dir, 'config.toml')],
      { stdio: ['ignore', log, log], env: this.#environment() },
    );
    closeSync(log);
    this.#process = child;
    this.#exited = new Promise((resolve) => {
      child.once('error', () => resolve());
      child.once('exit', () => resolve());
    });
    const deadline = Date.now() + READY_MS;
    while (!(await answers(this.address))) {
      if (child.exitCode !== null || child.pid === undefined || Date.now() > deadline) {
        throw new SquibError('unavailable', `containerd does not answer; its log:\n${this.log()}`);
      }
      await sleep(20);
    }
    const version = await this.ctr(['version'], { timeoutMs: READY_MS });
    if (version.code !== 0) throw new SquibError('unavailable', `ctr version: ${version.stderr}`);
  }

  async importImage(name: string = BUSYBOX_IMAGE): Promise<void> {
    await this.importTar(busyboxImage(name));
  }

  /** Imports an OCI layout. */
  async importTar(layout: Uint8Array): Promise<void> {
    const tar = join(this.dir, 'image.tar');
    writeFileSync(tar, layout);
    const done = await this.ctr(['image', 'import', tar]);
    rmSync(tar);
    if (done.code !== 0) throw new SquibError('internal', `ctr image import: ${done.stderr}`);
  }

  /** Runs ctr against this containerd. Never rejects for an exit status; rejects after `timeoutMs`. */
  async ctr(args: readonly string[], options: CtrOptions = {}): Promise<CtrResult> {
    const child = this.spawnCtr(args);
    // ctr may end before it has read its stdin.
    child.stdin.on('error', () => {});
    const { endStdinOn } = options;
    child.stdin.write(options.stdin ?? '');
    if (endStdinOn === undefined) child.stdin.end();
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => {
      stdout.push(chunk);
      if (endStdinOn !== undefined && Buffer.concat(stdout).includes(endStdinOn)) child.stdin.end();
    });
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    const closed = new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve(code ?? 128 + signalNumber(signal)));
    });
    const ms = options.timeoutMs ?? CTR_MS;
    try {
      const code = await withDeadline(closed, ms, `the end of ctr ${args.join(' ')}`);
      const stdoutBytes = Buffer.concat(stdout);
      return { code, stdout: stdoutBytes.toString(), stderr: Buffer.concat(stderr).toString(), stdoutBytes };
    } catch (thrown) {
      child.kill('SIGKILL');
      const said = `${Buffer.concat(stdout)}${Buffer.concat(stderr)}`.slice(-2000);
      throw new SquibError(
        'deadline-exceeded',
        `ctr said: ${said}\ncontainerd's log:\n${this.log().slice(-4000)}`,
        {
          cause: thrown,
        },
      );
    }
  }

  /** Starts ctr against this containerd and hands over the process; the caller ends it. */
  spawnCtr(args: readonly string[]): CtrProcess {
    return spawn('ctr', ['--address', this.address, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: this.#environment(),
    });
  }

  /** Ends containerd alone, as a restart or a package upgrade does; shims and containers live on. */
  async stop(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    child.kill('SIGTERM');
    try {
      await withDeadline(this.#exited, STOP_MS, "containerd's exit");
    } catch {
      await this.kill();
    }
    this.#process = undefined;
  }

  /** kill -9 of containerd alone. */
  async kill(): Promise<void> {
    this.#process?.kill('SIGKILL');
    await this.#exited;
    this.#process = undefined;
  }

  /** Stops containerd if it runs and starts it on the same state. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Kills and deletes every container of a namespace. Failures are left to `close`. */
  async removeContainers(namespace = 'default'): Promise<void> {
    const tasks = await this.ctr(['-n', namespace, 'tasks', 'ls', '-q']);
    for (const id of tasks.stdout.split('\n').filter(Boolean)) {
      await this.ctr(['-n', namespace, 'tasks', 'rm', '-f', id]);
    }
    const containers = await this.ctr(['-n', namespace, 'containers', 'ls', '-q']);
    for (const id of containers.stdout.split('\n').filter(Boolean)) {
      await this.ctr(['-n', namespace, 'containers', 'rm', id]);
    }
  }

  /** Ends the containers, containerd and whatever shim is left, unmounts and deletes its directory. */
  async close(): Promise<void> {
    if (this.#process !== undefined) {
      await this.removeContainers().catch(() => {});
      await this.stop();
    }
    for (const { pid } of processesUsing(this.dir)) endProcess(pid);
    for (const point of mountsBelow(this.dir)) unmount(point);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Version 2 of containerd's configuration is read by 1.x and 2.x alike. */
function configOf({ root, state, address, dir }: Containerd, logLevel: string): string {
  return `version = 2
root = ${JSON.stringify(root)}
state = ${JSON.stringify(state)}
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = ${JSON.stringify(address)}
[debug]
  level = ${JSON.stringify(logLevel)}
[plugins."io.containerd.internal.v1.opt"]
  path = ${JSON.stringify(join(dir, 'opt'))}
`;
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself meanwhile.
  }
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === 'SIGKILL' ? 9 : signal === 'SIGTERM' ? 15 : 1;
}
