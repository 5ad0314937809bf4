/** A microVM with the built agent, and the calls on it: for tests on a real guest kernel. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { withDeadline } from '../../src/base/deadline.ts';
import { silentLogger } from '../../src/base/log.ts';
import { flattenDirectories } from '../../src/image/directory/flatten.ts';
import { Libc } from '../../src/image/directory/libc.ts';
import { createExt4Image } from '../../src/image/ext4/image.ts';
import { createScratch } from '../../src/image/ext4/scratch.ts';
import { AGENT_METHODS, AGENT_SERVICE, type Event } from '../../src/proto/agent.ts';
import type { Init, MessageOf } from '../../src/proto/codec.ts';
import { Client } from '../../src/ttrpc/client.ts';
import type { Vm } from '../../src/vmm/contract.ts';
import { QemuEngine } from '../../src/vmm/qemu/engine.ts';
import { SerialHost } from '../../src/vsock/host.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const BUSYBOX = '/bin/busybox';
const NEEDED = [
  'build/kernel/vmlinux',
  'build/guest/initramfs',
  'build/native/jail',
  'build/native/kvm-probe',
];
const READY_MS = 120_000;
const SCRATCH_BYTES = 64 << 20;

/** Why these tests cannot run here, or undefined. */
export function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root: the jail changes users and mounts';
  for (const path of [...NEEDED.map((name) => join(ROOT, name)), BUSYBOX, '/usr/bin/qemu-system-x86_64']) {
    if (!existsSync(path)) return `needs ${path}: run tools/build`;
  }
  return undefined;
}

type Methods = typeof AGENT_METHODS;
type Request<M extends keyof Methods> = MessageOf<Methods[M]['request']>;
type Response<M extends keyof Methods> = MessageOf<Methods[M]['response']>;
type CreateInit = Init<Request<'CreateContainer'>>;

/** A running guest with its disks' directory. */
export class RealGuest {
  readonly vm: Vm;
  readonly host: SerialHost;
  readonly client: Client;
  readonly events: Event[] = [];
  readonly dir: string;
  #eventWaiters: (() => void)[] = [];
  #port = 2000;
  #disk = 0;

  static async boot(
    options: { readonly memSizeMib?: number; readonly bootArgs?: string } = {},
  ): Promise<RealGuest> {
    const dir = await mkdtemp(join(tmpdir(), 'squib-guest-test-'));
    const engine = new QemuEngine({
      qemuPath: '/usr/bin/qemu-system-x86_64',
      jailPath: join(ROOT, 'build/native/jail'),
      passFdPath: join(ROOT, 'build/native/pass-fd'),
      probePath: join(ROOT, 'build/native/kvm-probe'),
      accelerator: 'auto',
      accelCachePath: join(tmpdir(), 'squib-test-accel.json'),
      logger: silentLogger,
      ...(process.env['GUEST_CONSOLE'] ? { onConsole: (bytes) => process.stderr.write(bytes) } : {}),
    });
    const vm = await engine.launch({
      id: 'agent-test',
      machine: { vcpuCount: 1, memSizeMib: options.memSizeMib ?? 256 },
      boot: {
        kernelImagePath: join(ROOT, 'build/kernel/vmlinux'),
        initrdPath: process.env['GUEST_INITRD'] ?? join(ROOT, 'build/guest/initramfs'),
        bootArgs: options.bootArgs ?? '',
      },
    });
    const host = SerialHost.attach(vm.agent);
    try {
      await withDeadline(host.ready, READY_MS, 'the agent');
    } catch (thrown) {
      const tail = vm.consoleTail();
      await vm.stop();
      throw new Error(`${String(thrown)}\n${tail}`);
    }
    return new RealGuest(vm, host, dir);
  }

  private constructor(vm: Vm, host: SerialHost, dir: string) {
    this.vm = vm;
    this.host = host;
    this.dir = dir;
    this.client = new Client(host.connect(1));
    this.#listen();
  }

  call<M extends keyof Methods>(method: M, request: Init<Request<M>>): Promise<Response<M>> {
    const { request: req, response } = AGENT_METHODS[method];
    return this.client.call(AGENT_SERVICE, method, req, response, request as never, {
      timeoutMs: 60_000,
    }) as Promise<Response<M>>;
  }

  #listen(): void {
    const { request, response } = AGENT_METHODS.Events;
    const stream = this.client.stream(AGENT_SERVICE, 'Events', request, response, {});
    const pump = async () => {
      for await (const event of stream) {
        this.events.push(event);
        for (const wake of this.#eventWaiters.splice(0)) wake();
      }
    };
    pump().catch(() => {});
  }

  /** The exit event of a container, now or when it comes. */
  async exit(container: string): Promise<number> {
    for (;;) {
      const found = this.events.find((event) => event.exit?.container === container)?.exit;
      if (found !== undefined) return found.status;
      await withDeadline(
        new Promise<void>((wake) => this.#eventWaiters.push(wake)),
        60_000,
        `the exit of ${container}`,
      );
    }
  }

  port(): number {
    return this.#port++;
  }

  /** A read-only disk with busybox in /bin and what `add` puts there; gives its serial. */
  async lower(add: (root: string) => Promise<void> = async () => {}): Promise<string> {
    const root = await mkdtemp(join(this.dir, 'lower-'));
    // The image's root is as this directory is.
    await chmod(root, 0o755);
    await Promise.all(['bin', 'etc', 'dev', 'proc', 'sys', 'tmp'].map((name) => mkdir(join(root, name))));
    await writeFile(
      join(root, 'etc/passwd'),
      'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n',
    );
    execFileSync('cp', [BUSYBOX, join(root, 'bin/busybox')]);
    const applets = [
      'sh',
      'cat',
      'echo',
      'id',
      'ls',
      'mount',
      'sleep',
      'true',
      'stat',
      'head',
      'dd',
      'hostname',
      'ps',
    ];
    await Promise.all(
      [...applets, 'kill', 'readlink', 'wc', 'yes', 'umount', 'grep', 'ip', 'touch', 'env', 'md5sum'].map(
        (name) => symlink('busybox', join(root, 'bin', name)),
      ),
    );
    await add(root);
    const image = `${root}.ext4`;
    makeImage(root, image);
    return await this.plug(image, true);
  }

  /** An empty writable disk; gives its serial. */
  async upper(): Promise<string> {
    const image = join(this.dir, `upper-${this.#disk}.ext4`);
    createScratch(image, SCRATCH_BYTES);
    return await this.plug(image, false);
  }

  async plug(pathOnHost: string, isReadOnly: boolean): Promise<string> {
    const serial = `disk${this.#disk++}`;
    await this.vm.putDrive({ driveId: serial, pathOnHost, isReadOnly, serial });
    return serial;
  }

  /** Creates, starts and waits; gives what the process wrote and its exit status. */
  async run(
    id: string,
    init: CreateInit,
    stdin?: Uint8Array,
  ): Promise<{ stdout: string; stderr: string; status: number }> {
    const ports = { stdinPort: stdin ? this.port() : 0, stdoutPort: this.port(), stderrPort: this.port() };
    await this.call('CreateContainer', { ...init, id, process: { ...init.process, stdio: ports } });
    const outputs = [ports.stdoutPort, ports.stderrPort].map((port) => this.read(port));
    // A process that ends without reading cuts the stream.
    if (stdin)
      this.host
        .connect(ports.stdinPort)
        .on('error', () => {})
        .end(stdin);
    await this.call('StartProcess', { container: id });
    const status = await this.exit(id);
    const [stdout = '', stderr = ''] = (await Promise.all(outputs)).map((bytes) => bytes.toString());
    return { stdout, stderr, status };
  }

  read(port: number): Promise<Buffer> {
    const stream: Duplex = this.host.connect(port);
    stream.end();
    return buffer(stream);
  }

  async close(): Promise<void> {
    await this.vm.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}

const libc = await Libc.load();

function makeImage(root: string, path: string): void {
  const builder = createExt4Image(path, { uuid: new Uint8Array(16) });
  const request = { kind: 'plain', layers: [root], namespace: 'trusted' } as const;
  flattenDirectories(builder, builder.tree.root, request, libc);
  builder.finish();
}

/** Capabilities that containerd gives by default. */
const CAPS = 0xa80425fb;

/** A container as `ctr run` describes it, around a shell command. */
export function container(
  lowerSerial: string,
  upperSerial: string,
  command: string | readonly string[],
): CreateInit & { process: NonNullable<CreateInit['process']> } {
  const mount = (destination: string, type: string, flags: number, data = '') => ({
    destination,
    type,
    source: type,
    flags,
    data,
  });
  return {
    rootfs: { lowerSerial, upperSerial },
    process: {
      args: typeof command === 'string' ? ['sh', '-c', command] : command,
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'TERM=xterm'],
      cwd: '/',
      user: { uid: 0, gid: 0 },
      capabilities: { bounding: CAPS, effective: CAPS, permitted: CAPS },
      rlimits: [{ resource: 7, soft: 1024, hard: 1024 }],
      noNewPrivileges: true,
    },
    hostname: '',
    mounts: [
      mount('/proc', 'proc', 14),
      mount('/dev', 'tmpfs', 2 + 0x100_0000, 'mode=755,size=65536k'),
      mount('/dev/pts', 'devpts', 2 + 8, 'newinstance,ptmxmode=0666,mode=0620,gid=5'),
      mount('/dev/shm', 'tmpfs', 14, 'mode=1777,size=65536k'),
      mount('/dev/mqueue', 'mqueue', 14),
      mount('/sys', 'sysfs', 15),
      mount('/run', 'tmpfs', 2 + 0x100_0000, 'mode=755,size=65536k'),
      mount('/sys/fs/cgroup', 'cgroup', 15 + 0x20_0000),
    ],
    namespaces: [0x2000_0000, 0x0800_0000, 0x0400_0000, 0x0002_0000, 0x0200_0000].map((cloneFlag) => ({
      cloneFlag,
    })),
    maskedPaths: [
      '/proc/acpi',
      '/proc/asound',
      '/proc/kcore',
      '/proc/keys',
      '/proc/timer_list',
      '/sys/firmware',
    ],
    readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
  };
}
