import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { podRole } from '../../../oci/annotations.ts';
import { parseSpec, type Spec } from '../../../oci/runtime-spec.ts';
import { describe, SquibError } from '../../base/errors.ts';
import { prepareRootfs, type Rootfs } from '../../image/rootfs.ts';
import { TaskCreate } from '../../proto/events.ts';
import type { CreateTaskRequest } from '../../proto/task.ts';
import { publishAddress } from '../bundle.ts';
import type { Container } from '../container.ts';
import { Input } from '../io/input.ts';
import { openOutput } from '../io/output.ts';
import { OutputRelay } from '../io/output-relay.ts';
import { agentRequest, type ContainerPlan, planContainer } from '../plan/container.ts';
import type { Pod } from '../pod.ts';
import { runtimeError } from './runtime-error.ts';

/**
 * Create: none → created. The process exists in the guest and waits for Start.
 * @throws SquibError whatever kept the container from coming up; nothing of it is left then.
 */
export async function createTask(pod: Pod, request: CreateTaskRequest): Promise<{ pid: number }> {
  if (request.terminal)
    throw new SquibError('unimplemented', 'terminals (process.terminal) are not supported yet');
  if (request.checkpoint) throw new SquibError('unimplemented', 'restoring a checkpoint is not supported');
  pod.timeline.mark('create');
  const container = await pod.create(request, (made) => makeContainer(pod, made));
  const { stdin, stdout, stderr, terminal } = request;
  const pid = await pod.sandbox.pid();
  pod.events.publish(TaskCreate, {
    containerId: container.id,
    bundle: request.bundle,
    rootfs: request.rootfs,
    io: { stdin, stdout, stderr, terminal },
    checkpoint: request.checkpoint,
    pid,
  });
  return { pid };
}

async function makeContainer(pod: Pod, container: Container): Promise<void> {
  const { request } = container;
  const spec = parseSpec(await readFile(join(request.bundle, 'config.json'), 'utf8'));
  const plan = await planFor(pod, container.id, spec);
  const streams = openStreams(container);
  const disks = await plugDisks(pod, container, spec);
  const agent = await pod.sandbox.agent();
  pod.timeline.mark('plugged');
  const ports = {
    stdinPort: streams.input ? pod.sandbox.newPort() : 0,
    stdoutPort: streams.stdout ? pod.sandbox.newPort() : 0,
    stderrPort: streams.stderr ? pod.sandbox.newPort() : 0,
  };
  try {
    await agent.call('CreateContainer', agentRequest(plan, disks, ports));
  } catch (thrown) {
    throw runtimeError('OCI runtime create failed: unable to start container process', thrown);
  }
  pod.timeline.mark('created');
  const { sandbox } = pod;
  if (streams.input) streams.input.relay(await sandbox.connect(ports.stdinPort));
  const outputs: OutputRelay[] = [];
  if (streams.stdout) outputs.push(new OutputRelay(await sandbox.connect(ports.stdoutPort), streams.stdout));
  if (streams.stderr) outputs.push(new OutputRelay(await sandbox.connect(ports.stderrPort), streams.stderr));
  container.attach({ input: streams.input, outputs });
  if (container.id !== pod.options.id) publishAddress(request.bundle, pod.options.address);
}

async function planFor(pod: Pod, id: string, spec: Spec): Promise<ContainerPlan> {
  const role = podRole(spec, id);
  return planContainer({
    id,
    spec,
    podPid: await pod.sandbox.pid(),
    sandboxId: role.kind === 'member' ? role.sandboxId : undefined,
    ignored: (what) =>
      pod.logger.warn(`${what} has no meaning in a microVM and is ignored`, { container_id: id }),
  });
}

/** Opens what containerd reads and writes, before anything is done that would have to be undone. */
function openStreams(container: Container) {
  const { stdin, stdout, stderr } = container.request;
  const { scope } = container;
  const input = stdin ? Input.open(stdin) : undefined;
  if (input) scope.add('stdin', () => input.close());
  const open = (target: string, name: string) => {
    if (!target) return undefined;
    const output = openOutput(target);
    scope.add(name, () => output.close());
    return output;
  };
  return { input, stdout: open(stdout, 'stdout'), stderr: open(stderr, 'stderr') };
}

/** The images are made while the guest boots; then both disks are plugged in. */
async function plugDisks(
  pod: Pod,
  { request, scope }: Container,
  spec: Spec,
): Promise<{ lowerSerial: string; upperSerial: string }> {
  const { sandbox } = pod;
  const preparing = prepareRootfs({
    mounts: request.rootfs.length > 0 ? request.rootfs : rootOf(spec, request.bundle),
    scratchBytes: pod.options.scratchBytes,
    workDir: join(request.bundle, 'work', 'squib'),
    converter: pod.options.imageConverter,
  });
  preparing.then(
    () => pod.timeline.mark('image'),
    () => {},
  );
  // A machine that cannot boot ends the wait; what is prepared by then must still be released.
  const outcome = await Promise.allSettled([preparing, sandbox.agent()]);
  const rootfs = outcome[0].status === 'fulfilled' ? outcome[0].value : undefined;
  if (rootfs) {
    scope.add('root file system', () => rootfs.release());
    // Runs when the disks are out of the machine, and before what it reads is removed.
    scope.add('writes', () => commitWrites(pod, request.id, rootfs));
  }
  for (const part of outcome) if (part.status === 'rejected') throw part.reason;
  const plug = async (path: string, isReadOnly: boolean) => {
    const serial = await sandbox.plug(path, isReadOnly);
    scope.add(`disk ${serial}`, () => sandbox.unplug(serial));
    return serial;
  };
  const { lower, upper } = await preparing;
  const lowerSerial = lower === undefined ? '' : await plug(lower, true);
  return { lowerSerial, upperSerial: await plug(upper, false) };
}

/** The container is gone whether or not this succeeds: a commit that finds nothing has its reason in the log. */
async function commitWrites(pod: Pod, id: string, rootfs: Rootfs): Promise<void> {
  const { commitBytesMax } = pod.options;
  if (commitBytesMax === undefined) return;
  try {
    await rootfs.commit(commitBytesMax);
    pod.timeline.mark('committed');
  } catch (thrown) {
    pod.logger.warn('what the container wrote is not in its snapshot: commit and diff will not see it', {
      container_id: id,
      error: describe(thrown),
    });
  }
}

/** `ctr run --rootfs` gives no mounts: the root is the directory that the spec names. */
function rootOf(spec: Spec, bundle: string) {
  const path = spec.root?.path;
  if (path === undefined) throw new SquibError('invalid-argument', 'config.json: root is missing');
  return [{ type: 'bind', source: resolve(bundle, path), options: ['rbind', 'rw'] }];
}
