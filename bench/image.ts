/** How fast images are made, against everything else that makes some. See USAGE. */
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { type Contender, contenders, isInstalled } from './image/contenders.ts';
import { measure, medianRun, type Run } from './image/run.ts';
import { TREE_NAMES, type Tree, treeOf } from './image/trees.ts';
import { median } from './start/statistics.ts';

const USAGE = `usage: bench/image.ts [--runs N] [--dir DIR] [--only TREE] [--keep]

Makes three trees below DIR (default: a directory below the temporary one) unless they are there: a debootstrap tree, one of
about 50,000 small files from npm packages, and four random files of 200 MiB; and tars of them. Then runs
squib image convert (from tar, directory, tar.gz, tar.zst), cat, tar, mkfs.erofs, mksquashfs, mke2fs -d, gzip and zstd,
in turns, N times (default 5), and prints medians and one JSON line. Nobody waits for the disk (no fsync).
Needs GNU time, debootstrap, npm, zstd; erofs-utils and squashfs-tools where present. --only debootstrap|small|random.`;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    dir: { type: 'string', default: join(tmpdir(), 'squib-bench-image') },
    only: { type: 'string' },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

/** The command as it is shipped: one file. In build/, where its native dependency is found. */
async function bundle(): Promise<string> {
  const outfile = resolve('build', 'bench', 'squib.cjs');
  await build({
    entryPoints: ['cmd/squib.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['koffi'],
    logLevel: 'error',
  });
  return `'${process.execPath}' '${outfile}'`;
}

type Runs = ReadonlyMap<Contender, Run[]>;

function runInTurns(tree: Tree, all: readonly Contender[], count: number, base: string): Runs {
  const runs = new Map(all.map((contender) => [contender, [] as Run[]]));
  // The first round fills the page cache and is not counted.
  for (let round = 0; round <= count; round++) {
    for (const contender of all) {
      const run = measure(contender, tree, join(base, 'out'));
      if (round > 0) runs.get(contender)?.push(run);
      process.stderr.write(`\r${tree.name}: round ${round} of ${count}, ${contender.name}`.padEnd(70));
    }
  }
  process.stderr.write('\n');
  return runs;
}

function table(tree: Tree, runs: Runs): string {
  const rows = [...runs].map(([contender, all]) => {
    const { wall, cpu, rss, allocated } = medianRun(all);
    const spread = `${Math.min(...all.map((r) => r.wall)).toFixed(2)}–${Math.max(...all.map((r) => r.wall)).toFixed(2)}`;
    const sizes = `${(rss / 1024).toFixed(0)} | ${(allocated / 2 ** 20).toFixed(0)}`;
    return `| ${contender.name} | ${wall.toFixed(2)} | ${spread} | ${cpu.toFixed(2)} | ${sizes} |`;
  });
  return [
    `| ${tree.name}: ${tree.entries} entries | wall s | from–to | CPU s | peak MiB | result MiB |`,
    '|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

/** Of the medians, and of the fastest runs: the latter say more on a machine that others use too. */
interface Ratio {
  readonly median: number;
  readonly fastest: number;
}

/** Each figure against the one it is to be compared with. */
function ratios(runs: Runs): Record<string, Ratio> {
  const walls = (name: string) => {
    const found = [...runs].find(([contender]) => contender.name.startsWith(name));
    return (found?.[1] ?? []).map((run) => run.wall);
  };
  const ratio = (a: string, b: string): Ratio => ({
    median: median(walls(a)) / median(walls(b)),
    fastest: Math.min(...walls(a)) / Math.min(...walls(b)),
  });
  return {
    'squib from tar / cat': ratio('squib, tar', 'cat'),
    'squib from directory / tar': ratio('squib, directory', 'tar'),
    'mke2fs -d / squib from directory': ratio('mke2fs', 'squib, directory'),
    'mke2fs -d / squib from tar': ratio('mke2fs', 'squib, tar'),
    'squib from tar.gz / gzip -d': ratio('squib, tar.gz', 'gzip'),
    'squib from tar.zst / zstd -d': ratio('squib, tar.zst', 'zstd'),
  };
}

async function main(): Promise<void> {
  const base = resolve(values.dir);
  mkdirSync(base, { recursive: true });
  const all = contenders(await bundle());
  const present = all.filter(({ needs }) => needs === undefined || isInstalled(needs));
  for (const { name, needs } of all) {
    if (needs !== undefined && !isInstalled(needs))
      console.log(`left out: ${name}, since ${needs} is not installed`);
  }
  const results: unknown[] = [];
  for (const name of TREE_NAMES.filter((n) => values.only === undefined || n === values.only)) {
    const tree = treeOf(name, base);
    const runs = runInTurns(tree, present, Number(values.runs), base);
    const compared = ratios(runs);
    const lines = Object.entries(compared).map(
      ([what, ratio]) =>
        `- ${what}: ${ratio.median.toFixed(2)}, of the fastest runs ${ratio.fastest.toFixed(2)}`,
    );
    console.log(`${table(tree, runs)}\n\n${lines.join('\n')}\n`);
    const figures = Object.fromEntries(
      [...runs].map(([contender, list]) => [contender.name, medianRun(list)]),
    );
    results.push({ tree: name, entries: tree.entries, figures, ratios: compared });
  }
  console.log(JSON.stringify({ bench: 'image', node: process.version, runs: Number(values.runs), results }));
  if (!values.keep && values.dir === join(tmpdir(), 'squib-bench-image')) rmSync(base, { recursive: true });
}

if (values.help) console.log(USAGE);
else await main();
