/** Where the time of `ctr run --rm … true` goes, and what a pod costs. See USAGE. */
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { sleep } from '../src/base/deadline.ts';
import { type Containerd, RUNC, SQUIB, startContainerd } from '../test/e2e/containerd.ts';
import { processesNaming } from '../test/e2e/host-state.ts';
import { BUSYBOX_IMAGE } from '../tools/busybox-image.ts';
import { allocated, type Footprint, footprint, images } from './start/footprint.ts';
import { type Marks, PHASES, type Run, wall } from './start/phases.ts';
import { median, shown } from './start/statistics.ts';

const USAGE = `usage: bench/start.ts [--runs N] [--pods N]

Runs ctr run --rm … true N times (default 10) each with squib and an image that was converted before (warm), with
squib and one that was not (cold), and with runc, in turns on one containerd. Prints medians of each phase, then the
memory of N pods at once (default 3) and the sizes of what is in a guest, and one JSON line.
Needs tools/build and tools/install --prefix build/install.`;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '10' },
    pods: { type: 'string', default: '3' },
    help: { type: 'boolean', default: false },
  },
});

type Column = 'warm' | 'cold' | 'runc';

/** The shim's own account, from containerd's log. */
function marksOf(containerd: Containerd, id: string): Marks {
  const line = containerd
    .log()
    .split('\n')
    .findLast((text) => text.includes('"timeline"') && text.includes(`"container_id":"${id}"`));
  return line === undefined ? {} : (JSON.parse(line) as { marks: Marks }).marks;
}

async function runOnce(containerd: Containerd, column: Column, id: string): Promise<Run> {
  if (column === 'cold') for (const image of images(containerd.root)) rmSync(image);
  const begun = performance.timeOrigin + performance.now();
  const runtime = column === 'runc' ? RUNC : SQUIB;
  const result = await containerd.ctr(['run', '--rm', '--runtime', runtime, BUSYBOX_IMAGE, id, 'true']);
  const ended = performance.timeOrigin + performance.now();
  if (result.code !== 0) throw new Error(`${runtime}: ${result.stderr}`);
  return { begun, ended, marks: column === 'runc' ? {} : marksOf(containerd, id) };
}

async function measureRuns(containerd: Containerd, count: number): Promise<Record<Column, Run[]>> {
  const runs: Record<Column, Run[]> = { warm: [], cold: [], runc: [] };
  // The first of each fills caches, the host's page cache among them.
  for (const column of ['warm', 'runc'] as const) await runOnce(containerd, column, `first-${column}`);
  for (let i = 0; i < count; i++) {
    for (const column of ['warm', 'runc', 'cold'] as const) {
      runs[column].push(await runOnce(containerd, column, `${column}-${i}`));
    }
    process.stderr.write(`\r${i + 1} of ${count} rounds`);
  }
  process.stderr.write('\n');
  return runs;
}

interface PodCost {
  readonly shim: Footprint;
  readonly vmm: Footprint;
  readonly runcShim: Footprint;
}

/** On a containerd that does not debug, as hosts have it: the shims then load no logger. */
async function measurePods(count: number): Promise<PodCost[]> {
  const containerd = await startContainerd({ logLevel: 'info' });
  try {
    return await podCosts(containerd, count);
  } finally {
    await containerd.close();
  }
}

async function podCosts(containerd: Containerd, count: number): Promise<PodCost[]> {
  const ids = Array.from({ length: count }, (_, i) => `pod-${i}`);
  for (const id of ids) {
    for (const [runtime, name] of [
      [SQUIB, id],
      [RUNC, `${id}-runc`],
    ] as const) {
      await containerd.ctr(['run', '-d', '--runtime', runtime, BUSYBOX_IMAGE, name, 'sleep', '1000']);
    }
  }
  await sleep(3000);
  const pidOf = (text: string) => processesNaming(text)[0]?.pid ?? 0;
  const costs = ids.map((id) => ({
    shim: footprint(pidOf(`containerd-shim-squib-v1 -namespace default -id ${id} `)),
    vmm: footprint(pidOf(`guest=${id} `)),
    runcShim: footprint(pidOf(`containerd-shim-runc-v2 -namespace default -id ${id}-runc `)),
  }));
  return costs;
}

function phaseTable(runs: Record<Column, Run[]>): string {
  const row = (name: string, warm: number, cold: number, runc = '') =>
    `| ${name} | ${shown(warm)} | ${shown(cold)} | ${runc} |`;
  const of = (column: Column, ms: (run: Run) => number) => median(runs[column].map(ms));
  return [
    '| ms, medians | squib, warm image | squib, cold image | runc |',
    '|---|---|---|---|',
    ...PHASES.map(({ name, beside, ms }) =>
      row(beside ? `(beside the boot: ${name})` : name, of('warm', ms), of('cold', ms)),
    ),
    row('**`ctr run --rm … true`, wall**', of('warm', wall), of('cold', wall), shown(of('runc', wall))),
  ].join('\n');
}

function podTable(pods: readonly PodCost[]): string {
  const row = (name: string, of: (pod: PodCost) => Footprint) => {
    const mib = (field: keyof Footprint) => (median(pods.map((pod) => of(pod)[field])) / 1024).toFixed(1);
    return `| ${name} | ${mib('rss')} | ${mib('pss')} | ${mib('private')} |`;
  };
  return [
    `| MiB, medians of ${pods.length} idle pods | RSS | PSS | private |`,
    '|---|---|---|---|',
    row('squib-shim', (pod) => pod.shim),
    row('VMM (QEMU, a 256 MiB guest included)', (pod) => pod.vmm),
    row("for comparison: runc's shim", (pod) => pod.runcShim),
  ].join('\n');
}

async function main(): Promise<void> {
  const containerd = await startContainerd();
  try {
    const runs = await measureRuns(containerd, Number(values.runs));
    const pods = await measurePods(Number(values.pods));
    const guest = join('build', 'guest');
    const sizes = {
      agentBytes: statSync(join(guest, 'agent')).size,
      initramfsBytes: statSync(join(guest, 'initramfs')).size,
      imageBytes: Math.max(...images(containerd.root).map(allocated)),
    };
    console.log(`${phaseTable(runs)}\n\n${podTable(pods)}\n`);
    console.log(`agent ${sizes.agentBytes} bytes, initramfs ${sizes.initramfsBytes} bytes`);
    const phases = Object.fromEntries(
      (['warm', 'cold'] as const).map((column) => [
        column,
        Object.fromEntries(PHASES.map(({ name, ms }) => [name, median(runs[column].map(ms))])),
      ]),
    );
    const walls = Object.fromEntries(
      (['warm', 'cold', 'runc'] as const).map((column) => [column, runs[column].map(wall)]),
    );
    console.log(JSON.stringify({ bench: 'start', node: process.version, walls, phases, pods, sizes }));
  } finally {
    await containerd.close();
  }
}

if (values.help) console.log(USAGE);
else await main();
