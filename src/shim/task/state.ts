import type { Init } from '../../proto/codec.ts';
import { type StateResponse, TASK_STATUS } from '../../proto/task.ts';
import { timestampOfMillis } from '../../proto/timestamp.ts';
import type { Pod } from '../pod.ts';
import type { TaskState } from '../transition.ts';

const STATUS: Readonly<Record<TaskState['name'], number>> = {
  created: TASK_STATUS.created,
  running: TASK_STATUS.running,
  stopped: TASK_STATUS.stopped,
  deleted: TASK_STATUS.unknown,
};

/** State: legal from Create to Delete; changes nothing. */
export async function taskState(
  pod: Pod,
  request: { id: string; execId: string },
): Promise<Init<StateResponse>> {
  const container = pod.container(request.id, request.execId);
  const { bundle, stdin, stdout, stderr, terminal } = container.request;
  const { exit } = container;
  return {
    id: container.id,
    bundle,
    pid: pod.sandbox.pidNow,
    status: STATUS[container.state.name],
    stdin,
    stdout,
    stderr,
    terminal,
    exitStatus: exit?.status ?? 0,
    exitedAt: exit && timestampOfMillis(exit.atMs),
    execId: request.execId,
  };
}
