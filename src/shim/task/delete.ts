import { withDeadline } from '../../base/deadline.ts';
import { describe } from '../../base/errors.ts';
import { TaskDelete } from '../../proto/events.ts';
import { timestampOfMillis } from '../../proto/timestamp.ts';
import { markClean } from '../bundle.ts';
import { type Container, STATUS_KILLED } from '../container.ts';
import type { Pod } from '../pod.ts';

const SIGKILL = 9;

/** From the signal to the exit's report, for a process that has nothing to flush. */
const KILLED_MS = 5_000;

/**
 * Delete: created, stopped → deleted. A process that never started is killed first, as runc does.
 * @throws SquibError `failed-precondition` for a running one.
 */
export async function deleteTask(pod: Pod, request: { id: string; execId: string }) {
  pod.timeline.mark('delete');
  const container = pod.container(request.id, request.execId);
  container.check('delete');
  if (container.state.name === 'created') await killCreated(pod, container);
  const exit = await container.exited;
  container.deleted();
  const pid = pod.sandbox.pidNow;
  await release(pod, container);
  pod.forget(container);
  pod.timeline.mark('deleted');
  const exitedAt = timestampOfMillis(exit.atMs);
  pod.events.publish(TaskDelete, { containerId: container.id, pid, exitStatus: exit.status, exitedAt });
  return { pid, exitStatus: exit.status, exitedAt };
}

/** A guest that cannot say that the process is dead has no say: the container goes anyway. */
async function killCreated(pod: Pod, container: Container): Promise<void> {
  const { id } = container;
  try {
    const agent = await pod.sandbox.agent();
    await agent.call('SignalProcess', { container: id, exec: '', signal: SIGKILL, all: true });
    await withDeadline(container.exited, KILLED_MS, 'the exit of a killed process');
  } catch (thrown) {
    pod.logger.info('the process that never started gave no exit', {
      container_id: id,
      error: describe(thrown),
    });
    await pod.exited(container, STATUS_KILLED, Date.now());
  }
}

/**
 * The guest unmounts the container's root first, also where the machine ends with it: the scratch
 * lives with the snapshot, and what the container wrote must be on it.
 */
async function release(pod: Pod, container: Container): Promise<void> {
  try {
    if (pod.sandbox.isRunning) await deleteInGuest(pod, container);
    pod.timeline.mark('unmounted');
    if (pod.isLast(container)) await pod.sandbox.stop();
    await container.release();
    if (container.id !== pod.options.id) markClean(container.request.bundle);
  } catch (thrown) {
    // The container is dead all the same; `delete` finds no mark and cleans up.
    pod.logger.error('releasing a container failed', {
      container_id: container.id,
      error: describe(thrown),
    });
  }
}

async function deleteInGuest(pod: Pod, container: Container): Promise<void> {
  const agent = await pod.sandbox.agent();
  await agent.call('DeleteContainer', { container: container.id });
}
