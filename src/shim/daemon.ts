import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { podRole } from '../../oci/annotations.ts';
import { parseSpec, type Spec } from '../../oci/runtime-spec.ts';
import { describe, SquibError } from '../base/errors.ts';
import { FifoLogger } from '../base/log-fifo.ts';
import { readStartInput, START_INPUT_BYTES_MAX, type StartInput } from '../proto/bootstrap.ts';
import type { Engine } from '../vmm/contract.ts';
import type { BootSource } from '../vmm/resource/boot-source.ts';
import { requestedLogLevel, startAnswer } from './bootstrap.ts';
import { publishAddress, recordRunDir } from './bundle.ts';
import { cleanUpRunDir } from './cleanup.ts';
import { type Config, loadConfig } from './config.ts';
import type { ShimFlags } from './flags.ts';
import { PodServer } from './pod-server.ts';
import { isRunning } from './process-record.ts';
import { RunDir } from './run-dir.ts';

export interface DaemonOptions {
  readonly flags: ShimFlags;
  /** The bundle of the pod's first container. */
  readonly bundle: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly createEngine: (config: Config, logger: FifoLogger) => Engine;
  readonly bootSource: (config: Config) => BootSource;
  /** The program that makes images: cmd/convert.ts or its bundle. */
  readonly imageConverter: string;
}

/**
 * The daemon that `start` leaves behind: one pod's shim. It boots the VM and answers on standard
 * output as soon as the socket listens. When it fails before, the answer is one line that begins
 * with "squib: ", which the launcher turns into a failed start; what keeps the VM from coming up
 * is Create's error.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { flags, bundle, env } = options;
  const logger = new FifoLogger({
    path: `${bundle}/log`,
    level: flags.debug ? 'debug' : 'warn',
    fields: { namespace: flags.namespace, container_id: flags.id },
  });
  becomeDaemon(flags, logger);
  let runDir: RunDir | undefined;
  let server: PodServer | undefined;
  try {
    const input = readStartInput(readAll(0), flags);
    const config = await loadConfig({
      body: input.options && new TextDecoder().decode(input.options.configBody),
      path: input.options?.configPath,
      hostPath: env['SQUIB_CONFIG'],
    });
    logger.setLevel(requestedLogLevel(input, flags.debug) ?? config.logLevel);
    const spec = readSpec(bundle, flags.id);
    runDir = await claimRunDir(options, config);
    const address = `unix://${runDir.socket}`;
    server = new PodServer({
      flags,
      bundle,
      runDir,
      address,
      config,
      spec,
      logger,
      eventsAddress: eventsAddress(env, input),
      engine: options.createEngine(config, logger),
      boot: options.bootSource(config),
      imageConverter: options.imageConverter,
    });
    // The boot is the longest part of a container's start: everything else happens beside it.
    server.boot();
    await server.listen();
    publishAddress(bundle, address);
    process.chdir('/');
    answer(startAnswer(address, input, config.startAnswer));
    server.answered();
  } catch (thrown) {
    answer(Buffer.from(`squib: ${describe(thrown)}`));
    // containerd runs no `delete` after a failed start.
    if (server) await server.end('the start failed');
    else runDir?.remove();
    process.exit(1);
  }
}

/** Process manners, see docs/protocol/containerd-shim.md. */
function becomeDaemon(flags: ShimFlags, logger: FifoLogger): void {
  process.title = `containerd-shim-squib-v1 -namespace ${flags.namespace} -id ${flags.id} -address ${flags.address}`;
  // A crash would be exit 137 for every container of the pod.
  process.on('uncaughtException', (error) => {
    logger.error('uncaught exception', { error: error.stack ?? describe(error) });
  });
  process.on('unhandledRejection', (reason) => {
    const error = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason);
    logger.error('unhandled rejection', { error });
  });
  try {
    // One above containerd's: the kernel should take the shim first, but not before the workload.
    const own = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
    writeFileSync('/proc/self/oom_score_adj', String(Math.min(own + 1, 1000)));
  } catch (thrown) {
    logger.info('oom_score_adj stays as it is', { error: describe(thrown) });
  }
}

/** Standard input up to its end; containerd's is /dev/null or a pipe that it closes. */
function readAll(fd: number): Uint8Array {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(4096);
    const count = readSync(fd, chunk);
    if (count === 0) break;
    length += count;
    if (length > START_INPUT_BYTES_MAX) {
      throw new SquibError('invalid-argument', `more than ${START_INPUT_BYTES_MAX} bytes on stdin of start`);
    }
    chunks.push(chunk.subarray(0, count));
  }
  closeSync(fd);
  openSync('/dev/null', 'r');
  return Buffer.concat(chunks);
}

/** containerd waits for the end of our output, so the descriptor must not stay open. */
function answer(bytes: Uint8Array): void {
  writeSync(1, bytes);
  closeSync(1);
  openSync('/dev/null', 'w');
}

function readSpec(bundle: string, id: string): Spec {
  let text: string;
  try {
    text = readFileSync(`${bundle}/config.json`, 'utf8');
  } catch (cause) {
    throw new SquibError('failed-precondition', `${bundle}/config.json cannot be read`, { cause });
  }
  const spec = parseSpec(text);
  const role = podRole(spec, id);
  if (role.kind === 'member') {
    throw new SquibError(
      'failed-precondition',
      `container ${id} belongs to pod ${role.sandboxId}, whose shim does not run any more`,
    );
  }
  return spec;
}

/** @throws SquibError `already-exists` if a shim for the same pod runs; a dead one's rest is removed. */
async function claimRunDir({ flags, bundle }: DaemonOptions, config: Config): Promise<RunDir> {
  const { address, namespace, id } = flags;
  const runDir = RunDir.of(config.stateDir, { address, namespace, podId: id });
  const shim = runDir.recorded('shim');
  if (shim && isRunning(shim)) {
    throw new SquibError(
      'already-exists',
      `a shim for ${namespace}/${id} runs already (process ${shim.pid})`,
    );
  }
  if (runDir.exists) await cleanUpRunDir(runDir);
  recordRunDir(bundle, runDir.path);
  runDir.create();
  runDir.record('shim', process.pid);
  return runDir;
}

function eventsAddress(env: DaemonOptions['env'], input: StartInput): string {
  return env['TTRPC_ADDRESS'] || input.params?.containerdTtrpcAddress || '';
}
