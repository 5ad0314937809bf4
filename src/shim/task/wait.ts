import { timestampOfMillis } from '../../proto/timestamp.ts';
import type { Pod } from '../pod.ts';

/** Wait: legal from Create to Delete; answers when the output of the exited process is delivered. */
export async function waitTask(pod: Pod, request: { id: string; execId: string }) {
  const exit = await pod.container(request.id, request.execId).exited;
  return { exitStatus: exit.status, exitedAt: timestampOfMillis(exit.atMs) };
}
