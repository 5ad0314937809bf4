/** One measurement. Times are milliseconds of a control call beside the transfer. */
export interface Row {
  readonly wire: string;
  readonly what: string;
  readonly mbPerSecond?: number;
  readonly calls?: Calls;
}

export interface Calls {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** The figures of many round trips in milliseconds; undefined for none. */
export function callsOf(times: readonly number[]): Calls | undefined {
  if (times.length === 0) return undefined;
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number) => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]);
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** A row for `bytes` moved in `ms` milliseconds. */
export function transferRow(
  wire: string,
  what: string,
  bytes: number,
  ms: number,
  times: readonly number[],
): Row {
  const calls = callsOf(times);
  return { wire, what, mbPerSecond: Math.round(bytes / ms / 1000), ...(calls && { calls }) };
}

function round(ms = 0): number {
  return Math.round(ms * 100) / 100;
}

/** The rows as text in columns. */
export function table(rows: readonly Row[]): string {
  const head = ['wire', 'what', 'MB/s', 'calls', 'p50 ms', 'p99 ms', 'max ms'];
  const cells = rows.map(({ wire, what, mbPerSecond, calls }) =>
    [wire, what, mbPerSecond, calls?.count, calls?.p50, calls?.p99, calls?.max].map((v) => String(v ?? '')),
  );
  const all = [head, ...cells];
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ');
  return all.map(line).join('\n');
}
