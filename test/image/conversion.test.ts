import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { type ConversionJob, type ConversionResult, JOB_VERB } from '../../src/image/conversion.ts';
import { prepareRootfs } from '../../src/image/rootfs.ts';
import { missing } from './directory/tree-on-host.ts';
import { CONVERTER, debugfs, fsck, Snapshots } from './snapshots.ts';

const options = { skip: missing() ?? false, timeout: 60_000 };
const UUID = '00112233445566778899aabbccddeeff';
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-convert-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const imageJob = (layers: readonly string[], path: string): ConversionJob => ({
  kind: 'image',
  directories: 'overlay',
  layers,
  namespace: 'trusted',
  uuid: UUID,
  places: [{ path }],
});

function converter(job: ConversionJob): ChildProcess {
  return spawn(process.execPath, [CONVERTER, JOB_VERB, JSON.stringify(job)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function result(child: ChildProcess): Promise<ConversionResult> {
  const chunks: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(child, 'close');
  return JSON.parse(Buffer.concat(chunks).toString()) as ConversionResult;
}

/** A layer that takes seconds to convert: sparse files cost no disk. */
function bigLayer(): string {
  const layer = join(dir, 'layer');
  mkdirSync(layer);
  for (let i = 0; i < 20_000; i++) writeFileSync(join(layer, `f${i}`), `${i}`);
  return layer;
}

const isWriting = (): boolean => readdirSync(dir).some((name) => name.startsWith('image.tmp'));

/** Waits for something to appear beside the image: the conversion writes. */
async function started(child: ChildProcess): Promise<void> {
  while (child.exitCode === null && !isWriting()) await new Promise((r) => setTimeout(r, 2));
}

test('a source that disappears is named, and no image is left', options, async () => {
  const layer = bigLayer();
  const child = converter(imageJob([layer], join(dir, 'image')));
  await started(child);
  rmSync(layer, { recursive: true });
  const answer = await result(child);
  assert.ok('error' in answer);
  assert.equal(answer.error.code, 'aborted');
  assert.match(answer.error.message, /layer\/f\d+ disappeared while it was read/);
  assert.deepEqual(readdirSync(dir), []);
});

test('a file that shrinks is named', options, async () => {
  const layer = join(dir, 'layer');
  mkdirSync(layer);
  // Far more than is read before it is cut.
  const path = join(layer, 'log');
  writeFileSync(path, Buffer.alloc(256 << 20, 1));
  const child = converter(imageJob([layer], join(dir, 'image')));
  await started(child);
  truncateSync(path, 10);
  const answer = await result(child);
  // A host with reflinks is done before the cut.
  if ('path' in answer) return;
  assert.equal(answer.error.code, 'aborted');
  assert.match(answer.error.message, /layer\/log/);
  assert.deepEqual(readdirSync(dir), ['layer']);
});

test('a killed conversion leaves no image; the next one cleans up and succeeds', options, async () => {
  const layer = bigLayer();
  const path = join(dir, 'image');
  const child = converter(imageJob([layer], path));
  await started(child);
  child.kill('SIGKILL');
  await once(child, 'close');
  assert.ok(!existsSync(path));
  assert.deepEqual(await result(converter(imageJob([layer], path))), { path });
  fsck(path);
  assert.deepEqual(readdirSync(dir).sort(), ['image', 'layer']);
});

test('ten processes that want one image convert once', options, async () => {
  const layer = bigLayer();
  const path = join(dir, 'image');
  const children = Array.from({ length: 10 }, () => converter(imageJob([layer], path)));
  const inodes = await Promise.all(
    children.map(async (child) => {
      assert.deepEqual(await result(child), { path });
      return statSync(path).ino;
    }),
  );
  assert.equal(new Set(inodes).size, 1, 'nobody built it again');
});

/** Runs the converter where `setUp` has made a mount of its own, in a private mount namespace. */
function inPrivateMount(setUp: string, job: ConversionJob): { answer: ConversionResult; left: string[] } {
  const script = `${setUp}; shift; "$@"; echo; ls -A "$dir"`;
  const args = ['-m', '--propagation', 'private', 'sh', '-euc', script, 'sh', dir];
  const output = execFileSync('unshare', [
    ...args,
    process.execPath,
    CONVERTER,
    JOB_VERB,
    JSON.stringify(job),
  ]).toString();
  const [answer = '', ...left] = output.trim().split('\n');
  return { answer: JSON.parse(answer) as ConversionResult, left };
}

test('a disk that fills up half way is named, and nothing is left on it', options, () => {
  const layer = join(dir, 'layer');
  mkdirSync(layer);
  mkdirSync(join(dir, 'disk'));
  writeFileSync(join(layer, 'a'), Buffer.alloc(3 << 20, 1));
  writeFileSync(join(layer, 'b'), Buffer.alloc(3 << 20, 2));
  const setUp = 'dir=$1/disk; mount -t tmpfs -o size=4m tmpfs "$dir"';
  const { answer, left } = inPrivateMount(setUp, imageJob([layer], join(dir, 'disk/image')));
  assert.ok('error' in answer);
  assert.equal(answer.error.code, 'resource-exhausted');
  assert.match(answer.error.message, /disk\/image.*no space left on device/i);
  assert.deepEqual(left, []);
});

test('an image whose layer cannot be written beside lies in the shared directory', options, () => {
  const layer = join(dir, 'layer');
  const path = join(dir, 'shared', UUID, 'image.ext4');
  mkdirSync(layer);
  writeFileSync(join(layer, 'hello'), 'world');
  const shared = { dir: join(dir, 'shared'), bytesMax: 2 ** 30 };
  const job = {
    ...imageJob([layer], ''),
    places: [{ path: join(layer, '.image') }, { path, shared }],
  } as ConversionJob;
  const setUp = 'dir=$1/shared; mount --bind "$1/layer" "$1/layer"; mount -o remount,bind,ro "$1/layer"';
  const { answer, left } = inPrivateMount(setUp, job);
  assert.deepEqual(answer, { path });
  assert.deepEqual(left, [UUID]);
  assert.equal(debugfs(path, 'cat /hello'), 'world');
  const nowhere = inPrivateMount(setUp, {
    ...job,
    places: [{ path: join(layer, '.image') }],
  } as ConversionJob);
  assert.ok('error' in nowhere.answer);
  assert.match(nowhere.answer.error.message, /no place .*layer\/\.image.*read-only file system/i);
});

test('a shim that uses a shared image keeps it open until its release', options, async () => {
  const snapshots = new Snapshots(dir);
  const request = snapshots.request();
  const first = await prepareRootfs(request);
  const own = first.lower as string;
  // As if it had been made there: found by the key that names its directory.
  const uuid = debugfs(own, 'show_super_stats -h')
    .match(/UUID:\s+([0-9a-f-]+)/)?.[1]
    ?.replaceAll('-', '') as string;
  const path = join(dir, 'cache', uuid, 'image.ext4');
  mkdirSync(dirname(path), { recursive: true });
  execFileSync('mv', [own, path]);
  const fds = () => readdirSync('/proc/self/fd').length;
  const before = fds();
  const second = await prepareRootfs({ ...request, converter: '/no/such/converter' });
  assert.equal(second.lower, path);
  assert.equal(fds(), before + 1);
  assert.ok(Date.now() - statSync(path).mtimeMs < 10_000, 'its time is that of its use');
  await second.release();
  assert.equal(fds(), before);
  closeSync(openSync(path, 'r'));
});
