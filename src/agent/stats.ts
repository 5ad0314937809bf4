import { StatsResponse } from '../proto/agent.ts';
import type { Cgroup } from './cgroup.ts';

/** 2^64-1 on the wire. */
const NO_LIMIT = 2 ** 64;

/** The figures of a container's cgroup as a StatsResponse. */
export function encodeStats(cgroup: Cgroup): Uint8Array {
  return StatsResponse.encode({
    memoryCurrent: single(cgroup.read('memory.current')),
    memoryMax: single(cgroup.read('memory.max')),
    memoryStat: pairs(cgroup.read('memory.stat')),
    memoryEvents: pairs(cgroup.read('memory.events')),
    cpuStat: pairs(cgroup.read('cpu.stat')),
    pidsCurrent: single(cgroup.read('pids.current')),
    pidsMax: single(cgroup.read('pids.max')),
    ioStat: cgroup.read('io.stat'),
  });
}

function single(text: string): number {
  const word = text.trim();
  return word === 'max' ? NO_LIMIT : Number(word);
}

function pairs(text: string): { key: string; value: number }[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' '))
    .map(([key = '', value]) => ({ key, value: Number(value) }));
}
