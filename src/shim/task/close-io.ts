import type { Pod } from '../pod.ts';

/** CloseIO: legal from Create to Delete, after the exit too, and any number of times. */
export async function closeIo(pod: Pod, request: { id: string; execId: string; stdin: boolean }) {
  const container = pod.container(request.id, request.execId);
  if (request.stdin) container.input?.closeKeeper();
  return {};
}
