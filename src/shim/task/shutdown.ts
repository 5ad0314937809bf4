import type { Pod } from '../pod.ts';

/** Shutdown: comes after every Delete of an init process; only the last one means it. */
export async function shutdownTask(pod: Pod): Promise<Record<string, never>> {
  if (pod.isEmpty) await pod.options.shutdown();
  return {};
}
