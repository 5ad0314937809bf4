import { SquibError, toSquibError } from '../../base/errors.ts';
import type { KillRequest } from '../../proto/task.ts';
import type { Pod } from '../pod.ts';

/**
 * Kill: created, running: sends a signal to the process, or with `all` to every one of the
 * container. @throws SquibError `not-found` when there is none any more.
 */
export async function killTask(pod: Pod, request: KillRequest): Promise<Record<string, never>> {
  const container = pod.container(request.id, request.execId);
  container.check('kill');
  const agent = await pod.sandbox.agent();
  const { signal, all } = request;
  try {
    await agent.call('SignalProcess', { container: container.id, exec: '', signal, all });
  } catch (thrown) {
    // The process may have gone while the signal was on its way.
    if (toSquibError(thrown).code === 'not-found' || container.ending) {
      throw new SquibError('not-found', 'process already finished');
    }
    throw thrown;
  }
  return {};
}
