import { TaskStart } from '../../proto/events.ts';
import type { Pod } from '../pod.ts';
import { runtimeError } from './runtime-error.ts';

/** Start: created → running. @throws SquibError `failed-precondition` in any other state. */
export async function startTask(pod: Pod, request: { id: string; execId: string }): Promise<{ pid: number }> {
  pod.timeline.mark('start');
  const container = pod.container(request.id, request.execId);
  container.check('start');
  const agent = await pod.sandbox.agent();
  const pid = await pod.sandbox.pid();
  // An exit can come before the answer; its event must not come before the start's.
  const release = container.holdExit();
  try {
    await agent.call('StartProcess', { container: container.id, exec: '' });
    container.started();
    pod.timeline.mark('started');
    pod.events.publish(TaskStart, { containerId: container.id, pid });
  } catch (thrown) {
    throw runtimeError('OCI runtime start failed', thrown);
  } finally {
    release();
  }
  return { pid };
}
