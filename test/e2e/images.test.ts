import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { BUSYBOX_IMAGE, BUSYBOX_PATH, busyboxImage, directory, file } from '../../tools/busybox-image.ts';
import type { TarEntry } from '../../tools/ustar.ts';
import { type Containerd, type CtrResult, SQUIB, startContainerd } from './containerd.ts';

const LAYERS = 50;
const LAYERS_IMAGE = 'localhost/squib/layers:latest';
/** Layers of the busybox image itself. */
const BASE_LAYERS = 3;

let containerd: Containerd;
before(async () => {
  containerd = await startContainerd();
});
after(() => containerd.close());

/** Each layer adds a file and a directory's entry, and deletes the file of the layer three below. */
function manyLayers(): TarEntry[][] {
  return Array.from({ length: LAYERS - BASE_LAYERS }, (_, i) => [
    directory('many'),
    directory('shared'),
    file(`many/${i}`, `layer ${i}\n`),
    file(`shared/${i % 7}`, `last of ${i}\n`),
    ...(i >= 3 ? [file(`many/.wh.${i - 3}`, '')] : []),
  ]);
}

const ctrRun = (image: string, id: string, ...command: string[]): Promise<CtrResult> =>
  containerd.ctr(['run', '--rm', '--runtime', SQUIB, image, id, ...command]);

/** containerd collects snapshots some time after nobody names them. */
const COLLECTED_MS = 20_000;

async function remains(expected: readonly string[]): Promise<void> {
  const deadline = Date.now() + COLLECTED_MS;
  while (snapshotFiles().length > expected.length && Date.now() < deadline) await sleep(50);
  assert.deepEqual(snapshotFiles(), expected);
}

function snapshotFiles(): string[] {
  const snapshots = join(containerd.root, 'io.containerd.snapshotter.v1.overlayfs/snapshots');
  return readdirSync(snapshots).flatMap((id) =>
    readdirSync(join(snapshots, id)).filter((name) => name.startsWith('.squib')),
  );
}

test('an image of 50 layers is one image for all of its containers', async (t) => {
  await containerd.importTar(busyboxImage(LAYERS_IMAGE, BUSYBOX_PATH, manyLayers()));
  const command = ['sh', '-c', 'ls many; cat shared/*'];
  const times: number[] = [];
  for (const id of ['first', 'second']) {
    const begun = performance.now();
    const { code, stdout, stderr } = await ctrRun(LAYERS_IMAGE, id, ...command);
    times.push(performance.now() - begun);
    const shared = [42, 43, 44, 45, 46, 40, 41].map((i) => `last of ${i}`);
    assert.deepEqual(
      { code, stderr, lines: stdout.trim().split('\n') },
      {
        code: 0,
        stderr: '',
        lines: ['44', '45', '46', ...shared],
      },
    );
  }
  t.diagnostic(`first start ${times[0]?.toFixed(0)} ms, second ${times[1]?.toFixed(0)} ms`);
  assert.equal(snapshotFiles().filter((name) => name === '.squib-2.ext4').length, 1);
  const removed = await containerd.ctr(['image', 'rm', '--sync', LAYERS_IMAGE]);
  assert.equal(removed.code, 0, removed.stderr);
  await remains([]);
});

test('ten containers that start at once convert their image once', async () => {
  const ids = Array.from({ length: 10 }, (_, i) => `at-once-${i}`);
  const results = await Promise.all(ids.map((id) => ctrRun(BUSYBOX_IMAGE, id, 'cat', '/etc/motd')));
  for (const { code, stdout, stderr } of results)
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'from the second layer\n', stderr: '' });
  assert.equal(snapshotFiles().filter((name) => name === '.squib-2.ext4').length, 1);
  assert.equal((await containerd.ctr(['image', 'rm', '--sync', BUSYBOX_IMAGE])).code, 0);
  await remains([]);
  assert.doesNotMatch(readFileSync(containerd.logFile, 'utf8'), /level=error.*squib/);
});
