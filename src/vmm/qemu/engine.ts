import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { access, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SquibError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { type Accelerator, type AcceleratorChoice, chooseAccelerator } from '../accel.ts';
import type { Capabilities, Engine, VmConfig } from '../contract.ts';
import { checkMachineConfig } from '../resource/machine-config.ts';
import { type BootPaths, qemuArguments } from './argv.ts';
import { DRIVES_MAX } from './drive.ts';
import { QemuVm } from './vm.ts';

/**
 * The first of the uids that VMMs run as; a VMM's uid is this plus its pid. 0x70000000 begins the
 * range that systemd's UIDS-GIDS table leaves unused, and 2^22 pids fit below 2^31.
 */
export const UID_BASE_DEFAULT = 0x70000000;

/** exec to QMP is 50 ms on an idle host; a host under heavy load takes seconds. */
const START_TIMEOUT_MS = 30_000;

/** The kernel and initramfs inside the jail. */
const JAIL_PATHS: BootPaths = { kernel: '/kernel', initrd: '/initrd' };
/** What QEMU itself is made of: its libraries and firmware. Symlinks (merged /usr) are kept. */
const SYSTEM_PATHS = ['/usr', '/lib', '/lib64', '/etc/ld.so.cache'];
/** 0–2, agent, QMP, console. */
const KEPT_FDS = 6;

export interface QemuEngineOptions {
  /** Absolute path of qemu-system-x86_64. */
  readonly qemuPath: string;
  /** The native helpers, absolute. */
  readonly jailPath: string;
  readonly passFdPath: string;
  readonly probePath: string;
  readonly accelerator: AcceleratorChoice;
  /** ACCEL_CACHE_PATH of ../accel.ts. */
  readonly accelCachePath: string;
  readonly uidBase?: number;
  readonly logger: Logger;
  /** Gets every VM's raw console bytes: hostile, for a developer's eyes. */
  readonly onConsole?: (bytes: Uint8Array) => void;
}

const CAPABILITIES: Capabilities = {
  hotplugDrive: true,
  drivesMax: DRIVES_MAX,
  pause: true,
  vcpusMax: 64,
};

/** QEMU's microvm machine, jailed: KVM where it is proved, else TCG. */
export class QemuEngine implements Engine {
  readonly name = 'qemu';
  readonly capabilities = CAPABILITIES;
  readonly #options: QemuEngineOptions;
  #accelerator: Promise<Accelerator> | undefined;

  constructor(options: QemuEngineOptions) {
    this.#options = options;
  }

  async launch(config: VmConfig): Promise<QemuVm> {
    checkConfig(config);
    const { qemuPath, jailPath, passFdPath, logger, onConsole } = this.#options;
    const [accelerator] = await Promise.all([
      this.#chooseAccelerator(),
      checkProgram(qemuPath, 'the VMM', 'install qemu-system-x86, or set the path of qemu'),
      checkProgram(jailPath, "squib's helper jail", 'reinstall squib'),
      checkProgram(passFdPath, "squib's helper pass-fd", 'reinstall squib'),
      checkKernel(config.boot.kernelImagePath),
      checkArtefact(config.boot.initrdPath, 'the initramfs'),
    ]);
    const argv = qemuArguments(config, JAIL_PATHS, accelerator);
    const child = spawn(jailPath, jailArguments(this.#options, config, accelerator, argv), {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      env: {},
      cwd: '/',
    });
    await once(child, 'spawn').catch((cause: unknown) => {
      throw new SquibError('failed-precondition', `${jailPath} cannot be run`, { cause });
    });
    const vm = new QemuVm({ id: config.id, child, capabilities: CAPABILITIES, passFdPath, onConsole });
    try {
      const version = await vm.started(START_TIMEOUT_MS);
      logger.debug('VMM started', {
        vm: config.id,
        pid: vm.pid,
        qemu: version,
        accelerator: accelerator.kind,
      });
      return vm;
    } catch (cause) {
      await vm.stop();
      throw new SquibError('unavailable', `VM ${config.id} did not start`, { cause });
    }
  }

  /** Once per engine; a failure is not kept. */
  #chooseAccelerator(): Promise<Accelerator> {
    const { accelerator: choice, probePath, accelCachePath: cachePath, logger } = this.#options;
    this.#accelerator ??= chooseAccelerator({ choice, probePath, cachePath, logger }).catch((thrown) => {
      this.#accelerator = undefined;
      throw thrown;
    });
    return this.#accelerator;
  }
}

/** The jail's command line (src/vmm/native/jail.c) around QEMU's. */
function jailArguments(
  options: QemuEngineOptions,
  config: VmConfig,
  accelerator: Accelerator,
  argv: readonly string[],
): string[] {
  const prefix = dirname(dirname(options.qemuPath));
  // A QEMU outside the system's directories brings its own prefix along.
  const inSystem =
    SYSTEM_PATHS.some((path) => prefix === path || prefix.startsWith(`${path}/`)) || prefix === '/';
  return [
    ...['--uid-base', String(options.uidBase ?? UID_BASE_DEFAULT), '--keep-fds', String(KEPT_FDS)],
    ...SYSTEM_PATHS.flatMap((path) => ['--ro-if', path]),
    ...(inSystem ? [] : ['--ro', prefix, prefix]),
    ...['--ro', config.boot.kernelImagePath, JAIL_PATHS.kernel],
    ...['--ro', config.boot.initrdPath, JAIL_PATHS.initrd],
    ...(accelerator.kind === 'kvm' ? ['--kvm'] : []),
    ...['--', options.qemuPath, ...argv],
  ];
}

function checkConfig(config: VmConfig): void {
  if (!/^[A-Za-z0-9_.-]{1,76}$/.test(config.id)) {
    throw new SquibError(
      'invalid-argument',
      `VM id is ${JSON.stringify(config.id)}: expected 1 to 76 of letters, digits, "_", "." and "-"`,
    );
  }
  checkMachineConfig(config.machine, CAPABILITIES.vcpusMax);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is control characters that are refused
  if (/[\x00-\x1f]/.test(config.boot.bootArgs) || config.boot.bootArgs.length > BOOT_ARGS_CHARS_MAX) {
    throw new SquibError(
      'invalid-argument',
      `boot arguments: expected at most ${BOOT_ARGS_CHARS_MAX} characters on one line`,
    );
  }
}

/** x86's COMMAND_LINE_SIZE is 2048; the rest is for ours. */
const BOOT_ARGS_CHARS_MAX = 1536;

async function checkProgram(path: string, what: string, remedy: string): Promise<void> {
  try {
    await access(path, constants.X_OK);
  } catch (cause) {
    throw new SquibError('failed-precondition', `${what} cannot be run at ${path}: ${remedy}`, { cause });
  }
}

/** The VMM reads it as an unprivileged user, through a bind: the directories above do not matter. */
async function checkArtefact(path: string, what: string): Promise<void> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new SquibError('failed-precondition', `${what} is not at ${path}: ${BUILD_IT}`, { cause });
  });
  if (!info.isFile() || info.size === 0) {
    throw new SquibError('failed-precondition', `${what} at ${path} is no file or empty: ${BUILD_IT}`);
  }
  if ((info.mode & 0o004) === 0) {
    throw new SquibError(
      'failed-precondition',
      `${what} at ${path} is not readable by all, and the VMM runs unprivileged: chmod o+r ${path}`,
    );
  }
}

const BUILD_IT = 'run tools/build, or set its path in the configuration';

const ELF_MAGIC = Buffer.from('\x7fELF', 'latin1');

async function checkKernel(path: string): Promise<void> {
  await checkArtefact(path, 'the guest kernel');
  const head = Buffer.alloc(ELF_MAGIC.length);
  const file = await open(path, 'r');
  try {
    await file.read(head, 0, head.length, 0);
  } finally {
    await file.close();
  }
  if (!head.equals(ELF_MAGIC)) {
    throw new SquibError(
      'failed-precondition',
      `the guest kernel at ${path} is no ELF file: it takes a vmlinux; the kernel's scripts/extract-vmlinux makes one of a bzImage`,
    );
  }
}
