import type { Pod } from '../pod.ts';

/** Connect: what a containerd that restarted asks first. Legal at any time. */
export async function connectTask(pod: Pod, request: { id: string }) {
  const known = pod.containers.some(({ id }) => id === request.id);
  return { shimPid: process.pid, taskPid: known ? pod.sandbox.pidNow : 0, version: '' };
}
