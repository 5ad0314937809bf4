import type { StatsResponse as GuestStats, StatValue } from '../../proto/agent.ts';
import { packAny } from '../../proto/any.ts';
import type { Init } from '../../proto/codec.ts';
import { Metrics } from '../../proto/metrics-v2.ts';
import type { Pod } from '../pod.ts';

/**
 * Stats: the guest's figures as cgroup v2 metrics, whatever cgroups the host has. Never without
 * an answer: ctr 1.6 crashes on none, so a container without a guest has empty ones.
 */
export async function taskStats(pod: Pod, request: { id: string }) {
  const container = pod.container(request.id);
  if (container.ending) return { stats: packAny(Metrics, {}) };
  const agent = await pod.sandbox.agent();
  const stats = await agent.call('Stats', { container: container.id });
  return { stats: packAny(Metrics, metricsOf(stats)) };
}

/** The agent passes the kernel's files on; their keys are the metrics' names in snake case. */
export function metricsOf(stats: GuestStats): Init<Metrics> {
  const cpu = valuesOf(stats.cpuStat);
  const events = valuesOf(stats.memoryEvents);
  const memory: Record<string, number> = {};
  // Names that the message does not have are left out when it is encoded.
  for (const { key, value } of stats.memoryStat) memory[camelCase(MEMORY_NAMES.get(key) ?? key)] = value;
  return {
    pids: { current: stats.pidsCurrent, limit: exact(stats.pidsMax) },
    cpu: {
      usageUsec: cpu('usage_usec'),
      userUsec: cpu('user_usec'),
      systemUsec: cpu('system_usec'),
      nrPeriods: cpu('nr_periods'),
      nrThrottled: cpu('nr_throttled'),
      throttledUsec: cpu('throttled_usec'),
    },
    memory: { ...memory, usage: stats.memoryCurrent, usageLimit: exact(stats.memoryMax) },
    memoryEvents: {
      low: events('low'),
      high: events('high'),
      max: events('max'),
      oom: events('oom'),
      oomKill: events('oom_kill'),
    },
    io: { usage: parseIoStat(stats.ioStat) },
  };
}

/** Names that the kernel has changed since the message was made. */
const MEMORY_NAMES: ReadonlyMap<string, string> = new Map([
  ['workingset_refault_file', 'workingset_refault'],
  ['workingset_activate_file', 'workingset_activate'],
]);

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function valuesOf(list: readonly StatValue[]): (key: string) => number {
  const values = new Map(list.map(({ key, value }) => [key, value]));
  return (key) => values.get(key) ?? 0;
}

/** "No limit" is 2^64 - 1, which a number holds as 2^64. */
function exact(value: number): number | bigint {
  return value >= 2 ** 64 ? 2n ** 64n - 1n : value;
}

/** Devices of one VM: a longer list is the guest's invention. */
const IO_DEVICES_MAX = 256;

/** io.stat: lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`; the guest may write anything. */
function parseIoStat(text: string) {
  return text
    .split('\n', IO_DEVICES_MAX)
    .map((line) => /^(\d{1,5}):(\d{1,7}) (.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, major, minor, rest]) => {
      const values = new Map(
        (rest as string).split(' ').map((pair) => pair.split('=', 2) as [string, string]),
      );
      const count = (key: string) => {
        const value = Number(values.get(key) ?? 0);
        return Number.isSafeInteger(value) && value >= 0 ? value : 0;
      };
      return {
        major: Number(major),
        minor: Number(minor),
        rbytes: count('rbytes'),
        wbytes: count('wbytes'),
        rios: count('rios'),
        wios: count('wios'),
      };
    });
}
