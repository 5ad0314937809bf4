/** What a guest gains from the profile of our images: every small file read once, cold. See USAGE. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { flattenDirectories } from '../src/image/directory/flatten.ts';
import { Libc } from '../src/image/directory/libc.ts';
import { createExt4Image } from '../src/image/ext4/image.ts';
import { container, RealGuest } from '../test/agent/real-guest.ts';
import { median } from './start/statistics.ts';

const USAGE = `usage: bench/cold-read.ts --tree DIR [--runs N]

Makes an image of DIR by our own writer and one by mke2fs -d, and reads all files of each in a freshly booted VM, N
times (default 3) in turns. The images are in the host's page cache, the guest's is empty. Prints a table and one
JSON line. Needs tools/build; bench/image.ts --keep leaves a tree of 50,000 small files in its directory.`;

const { values } = parseArgs({
  options: {
    tree: { type: 'string' },
    runs: { type: 'string', default: '3' },
    help: { type: 'boolean', default: false },
  },
});

const MEMORY_MIB = 1024;
const READ_ALL = 'find /tree -type f -print0 | xargs -0 cat | wc -c';

/** The tree with a busybox beside it, by hard links: both images get the very same content. */
function withBusybox(tree: string): string {
  const root = mkdtempSync(join(dirname(resolve(tree)), 'cold-read-'));
  execFileSync('cp', ['-al', resolve(tree), join(root, 'tree')]);
  for (const name of ['bin', 'dev', 'proc', 'sys', 'run', 'tmp']) mkdirSync(join(root, name));
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of ['sh', 'find', 'xargs', 'cat', 'wc'])
    symlinkSync('busybox', join(root, 'bin', applet));
  return root;
}

async function ourImage(root: string, path: string): Promise<void> {
  const builder = createExt4Image(path, { uuid: new Uint8Array(16) });
  const request = { kind: 'plain', layers: [root], namespace: 'trusted' } as const;
  flattenDirectories(builder, builder.tree.root, request, await Libc.load());
  builder.finish();
}

/** Generous in size, and sparse: what is unused costs nothing. */
function mke2fsImage(root: string, path: string): void {
  execFileSync('mke2fs', [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-m',
    '0',
    '-O',
    '^has_journal',
    '-N',
    '200000',
    '-d',
    root,
    path,
    '4g',
  ]);
}

async function readCold(image: string): Promise<{ ms: number; bytes: number }> {
  execFileSync('dd', [`if=${image}`, 'of=/dev/null', 'bs=1M', 'status=none']);
  const guest = await RealGuest.boot({ memSizeMib: MEMORY_MIB });
  try {
    const disks = [await guest.plug(image, true), await guest.upper()] as const;
    const begun = performance.now();
    const { stdout, status, stderr } = await guest.run('reader', container(...disks, READ_ALL));
    if (status !== 0) throw new Error(`reading in the guest ended with ${status}: ${stderr}`);
    return { ms: performance.now() - begun, bytes: Number(stdout) };
  } finally {
    await guest.close();
  }
}

async function main(tree: string): Promise<void> {
  const root = withBusybox(tree);
  try {
    const images = { squib: `${root}.squib.ext4`, mke2fs: `${root}.mke2fs.ext4` };
    await ourImage(root, images.squib);
    mke2fsImage(root, images.mke2fs);
    const names = ['squib', 'mke2fs'] as const;
    const runs = { squib: [] as number[], mke2fs: [] as number[] };
    let bytes = 0;
    for (let round = 0; round < Number(values.runs); round++) {
      for (const name of names) {
        const run = await readCold(images[name]);
        if (bytes !== 0 && run.bytes !== bytes) throw new Error(`${name}: ${run.bytes} bytes, not ${bytes}`);
        bytes = run.bytes;
        runs[name].push(run.ms);
        process.stderr.write(`round ${round + 1}, ${name}: ${run.ms.toFixed(0)} ms\n`);
      }
    }
    console.log('| image | read all, s (median) | on disk, MiB |\n|---|---|---|');
    for (const name of names) {
      const mib = (statSync(images[name]).blocks * 512) / 2 ** 20;
      console.log(`| ${name} | ${(median(runs[name]) / 1000).toFixed(1)} | ${mib.toFixed(0)} |`);
    }
    console.log(JSON.stringify({ bench: 'cold-read', bytes, runs }));
  } finally {
    for (const path of [root, `${root}.squib.ext4`, `${root}.mke2fs.ext4`])
      rmSync(path, { recursive: true, force: true });
  }
}

if (values.help || values.tree === undefined) console.log(USAGE);
else await main(values.tree);
