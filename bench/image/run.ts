import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { allocated } from '../start/footprint.ts';
import { median } from '../start/statistics.ts';
import type { Contender } from './contenders.ts';
import type { Tree } from './trees.ts';

/** One run; times in seconds. */
export interface Run {
  readonly wall: number;
  readonly cpu: number;
  /** Peak resident memory of the largest process, KiB. */
  readonly rss: number;
  /** Of what was made: bytes on disk, and its length. */
  readonly allocated: number;
  readonly bytes: number;
}

/** Runs a contender once, its output on the disk that has the input; nobody waits for the disk. */
export function measure(contender: Contender, tree: Tree, out: string): Run {
  const command = contender.command(tree, out);
  const times = `${out}.times`;
  rmSync(out, { force: true });
  const begun = performance.now();
  execFileSync('time', ['-o', times, '-f', '%U %S %M', 'sh', '-c', command], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const wall = (performance.now() - begun) / 1000;
  const [user = 0, system = 0, rss = 0] = readFileSync(times, 'utf8').trim().split(' ').map(Number);
  const run = { wall, cpu: user + system, rss, allocated: allocated(out), bytes: statSync(out).size };
  rmSync(out);
  rmSync(times);
  return run;
}

/** The medians, field by field. */
export function medianRun(runs: readonly Run[]): Run {
  const of = (field: keyof Run) => median(runs.map((run) => run[field]));
  return { wall: of('wall'), cpu: of('cpu'), rss: of('rss'), allocated: of('allocated'), bytes: of('bytes') };
}
