import { type ExecFileException, execFile } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { silentLogger } from '../../src/base/log.ts';
import type { Init, MessageOf } from '../../src/proto/codec.ts';
import { type Envelope, EVENTS_METHODS, EVENTS_SERVICE } from '../../src/proto/events.ts';
import type { Rpc } from '../../src/proto/rpc.ts';
import { TASK_METHODS } from '../../src/proto/task.ts';
import { cleanUpRunDir } from '../../src/shim/cleanup.ts';
import { RunDir } from '../../src/shim/run-dir.ts';
import { Client } from '../../src/ttrpc/client.ts';
import { Server, unary } from '../../src/ttrpc/server.ts';

const top = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

type Methods = typeof TASK_METHODS;

export interface LauncherResult {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Drives the real launcher and the real shim (with the fake engine) as containerd does. */
export class FakeContainerd {
  readonly dir = mkdtempSync(join(tmpdir(), 'squib-fake-containerd-'));
  readonly events: Envelope[] = [];
  readonly namespace = 'test';
  readonly #server = new Server({ logger: silentLogger });
  readonly #clients: Client[] = [];
  readonly #env: Record<string, string>;

  private constructor(env: Record<string, string>) {
    this.#env = env;
  }

  static async start(env: Record<string, string> = {}): Promise<FakeContainerd> {
    const made = new FakeContainerd(env);
    const lib = join(made.dir, 'lib', 'squib');
    mkdirSync(lib, { recursive: true });
    mkdirSync(join(made.dir, 'bin'));
    cpSync(join(top, 'cmd', 'containerd-shim-squib-v1'), join(made.dir, 'bin', 'containerd-shim-squib-v1'));
    symlinkSync(process.execPath, join(lib, 'node'));
    const load = (path: string) => `import(${JSON.stringify(join(top, path))})`;
    writeFileSync(join(lib, 'shim.cjs'), load('test/fake/shim-main.ts'));
    writeFileSync(join(lib, 'delete.cjs'), load('cmd/delete.ts'));
    writeFileSync(
      join(made.dir, 'config.toml'),
      `state_dir = "${join(made.dir, 'run')}"\nscratch_mib = 16\n`,
    );
    made.#server.register(EVENTS_SERVICE, {
      Forward: unary(EVENTS_METHODS.Forward.request, EVENTS_METHODS.Forward.response, async (request) => {
        if (request.envelope) made.events.push(request.envelope);
        return {};
      }),
    });
    await made.#server.listen({ path: join(made.dir, 'events.sock') });
    return made;
  }

  get runRoot(): string {
    return join(this.dir, 'run');
  }

  bundle(id: string): string {
    return join(this.dir, 'state', this.namespace, id);
  }

  /** Makes a bundle as containerd does, with a rootfs directory to run from. */
  makeBundle(id: string, spec: object): string {
    const bundle = this.bundle(id);
    mkdirSync(join(bundle, 'rootfs', 'bin'), { recursive: true, mode: 0o711 });
    mkdirSync(join(bundle, 'work'));
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
    return bundle;
  }

  /** Runs the launcher as containerd 1.6 does. */
  async launch(
    id: string,
    action: 'start' | 'delete',
    options: { stdin?: Uint8Array; flags?: readonly string[]; env?: Record<string, string> } = {},
  ): Promise<LauncherResult> {
    const bundle = this.bundle(id);
    const args = [
      ...['-namespace', this.namespace, '-address', join(this.dir, 'containerd.sock')],
      ...['-publish-binary', '/usr/bin/containerd', '-id', id],
      ...(options.flags ?? (action === 'delete' ? ['-bundle', bundle] : [])),
      action,
    ];
    const child = execFile(join(this.dir, 'bin', 'containerd-shim-squib-v1'), args, {
      cwd: bundle,
      encoding: 'buffer',
      timeout: 20_000,
      env: {
        PATH: process.env['PATH'] ?? '',
        TTRPC_ADDRESS: join(this.dir, 'events.sock'),
        SQUIB_CONFIG: join(this.dir, 'config.toml'),
        ...this.#env,
        ...options.env,
      },
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout?.on('data', (chunk: string) => out.push(Buffer.from(chunk, 'latin1')));
    child.stdout?.setEncoding('latin1');
    child.stderr?.on('data', (chunk: Buffer) => err.push(Buffer.from(chunk)));
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.stdin ?? new Uint8Array(0));
    const [code] = (await once(child, 'close')) as [number | null, ExecFileException | null];
    return { code: code ?? -1, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() };
  }

  /** Dials an address that `start` answered. */
  async dial(address: string): Promise<TaskClient> {
    const socket = connect(address.replace(/^unix:\/\//, ''));
    await once(socket, 'connect');
    const client = new Client(socket);
    this.#clients.push(client);
    return new TaskClient(client);
  }

  topics(): string[] {
    return this.events.map(({ topic }) => topic);
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.#server.close();
    // What a test that failed half-way has left.
    for (const name of existsSync(this.runRoot) ? readdirSync(this.runRoot) : []) {
      const runDir = RunDir.at(join(this.runRoot, name));
      if (runDir) await cleanUpRunDir(runDir);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The Task service as containerd calls it. */
export class TaskClient {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  get closed(): Promise<unknown> {
    return this.#client.closed;
  }

  call<N extends keyof Methods>(
    name: N,
    value: Init<MessageOf<Methods[N]['request']>>,
    version: 2 | 3 = 2,
  ): Promise<MessageOf<Methods[N]['response']>> {
    const { request, response } = TASK_METHODS[name] as unknown as Rpc<
      object,
      MessageOf<Methods[N]['response']>
    >;
    return this.#client.call(`containerd.task.v${version}.Task`, name, request, response, value, {
      timeoutMs: 15_000,
    });
  }

  close(): void {
    this.#client.close();
  }
}

/** The part of ctr's default spec that matters here. */
export function specOf(args: readonly string[], more: Record<string, unknown> = {}): object {
  return {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args, cwd: '/', env: ['PATH=/bin'] },
    root: { path: 'rootfs' },
    linux: { namespaces: ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type })) },
    ...more,
  };
}
