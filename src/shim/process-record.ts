import { readFileSync } from 'node:fs';

/** A process that is told from a later one with the same id by its start time. */
export interface ProcessRecord {
  readonly pid: number;
  /** Clock ticks since the host's boot (field 22 of /proc/<pid>/stat). */
  readonly startTime: string;
}

/** undefined: there is no such process, or it is a zombie. */
export function recordProcess(pid: number): ProcessRecord | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The name in field 2 may hold spaces and brackets; what counts comes after its last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTime = fields[19];
  if (startTime === undefined || state === 'Z' || state === 'X') return undefined;
  return { pid, startTime };
}

export function formatRecord({ pid, startTime }: ProcessRecord): string {
  return `${pid} ${startTime}\n`;
}

/** undefined: the text is no record. */
export function parseRecord(text: string): ProcessRecord | undefined {
  const match = /^([1-9]\d{0,9}) (\d+)\s*$/.exec(text);
  return match ? { pid: Number(match[1]), startTime: match[2] as string } : undefined;
}

/** Whether that very process still runs. */
export function isRunning(record: ProcessRecord): boolean {
  return recordProcess(record.pid)?.startTime === record.startTime;
}
