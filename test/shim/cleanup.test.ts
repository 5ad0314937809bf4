import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { recordRunDir } from '../../src/shim/bundle.ts';
import { cleanUp } from '../../src/shim/cleanup.ts';
import { recordProcess } from '../../src/shim/process-record.ts';
import { RunDir } from '../../src/shim/run-dir.ts';

const dir = mkdtempSync(join(tmpdir(), 'squib-cleanup-'));
after(() => rmSync(dir, { recursive: true }));

let serial = 0;
function bundle(): string {
  const path = join(dir, `bundle${++serial}`);
  mkdirSync(path);
  return path;
}

async function sleeper(): Promise<number> {
  const child = spawn('sleep', ['100'], { stdio: 'ignore' });
  await once(child, 'spawn');
  return child.pid as number;
}

const key = () => ({ address: '/c.sock', namespace: 'ns', podId: `p${serial}` });

test('a bundle without a record needs nothing', async () => {
  assert.equal(await cleanUp(bundle()), 0);
});

test('a record that is no run directory of ours is never removed', async () => {
  const precious = join(dir, 'precious');
  mkdirSync(precious);
  for (const path of [precious, '/', '../x', `${dir}/0123`]) {
    const made = bundle();
    writeFileSync(join(made, 'squib-run'), path);
    await assert.rejects(cleanUp(made), /is no run directory of squib/);
  }
  assert.ok(existsSync(precious));
});

test('shim and VMM are ended, and only those very processes', async () => {
  const made = bundle();
  const runDir = RunDir.of(dir, key());
  recordRunDir(made, runDir.path);
  runDir.create();
  const [shim, vmm] = [await sleeper(), await sleeper()];
  runDir.record('shim', shim);
  runDir.record('vmm', vmm);
  assert.equal(await cleanUp(made), vmm);
  assert.equal(recordProcess(shim), undefined);
  assert.equal(recordProcess(vmm), undefined);
  assert.ok(!existsSync(runDir.path));
  assert.equal(await cleanUp(made), 0, 'again is harmless');
});

test('a recycled process id is left alone', async () => {
  const made = bundle();
  const runDir = RunDir.of(dir, key());
  recordRunDir(made, runDir.path);
  runDir.create();
  const stranger = await sleeper();
  writeFileSync(join(runDir.path, 'vmm.pid'), `${stranger} 12\n`);
  writeFileSync(join(runDir.path, 'shim.pid'), 'nonsense');
  await cleanUp(made);
  assert.ok(recordProcess(stranger));
  process.kill(stranger, 'SIGKILL');
});

test('pods of different containerds, namespaces and ids never share', () => {
  const paths = [
    { address: '/a', namespace: 'b', podId: 'c' },
    { address: '/ab', namespace: '', podId: 'c' },
    { address: '/a', namespace: 'bc', podId: '' },
    { address: '/a', namespace: 'b', podId: 'd' },
  ].map((one) => RunDir.of('/run/squib', one));
  assert.equal(new Set(paths.map(({ path }) => path)).size, paths.length);
  for (const { socket } of paths) assert.ok(socket.length <= 106);
});
