import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { BUSYBOX_IMAGE } from '../../tools/busybox-image.ts';
import { type Containerd, RUNC, startContainerd } from './containerd.ts';
import { mountsBelow, processesUsing, traces } from './host-state.ts';

/** The harness and the image, proven with runc, so that a failure with squib is squib's. */
/** runc keeps its containers of all containerds in one directory: ids of runs beside each other must differ. */
const id = (n: number) => `c${process.pid}-${n}`;

let containerd: Containerd;
before(async () => {
  containerd = await startContainerd();
});
after(() => containerd.close());

const run = (...command: string[]) => ['run', '--rm', '--runtime', RUNC, BUSYBOX_IMAGE, id(1), ...command];

test('runc: output, error output and exit status come back', async () => {
  const result = await containerd.ctr(run('sh', '-c', 'echo out; echo err >&2; exit 7'));
  assert.deepEqual(
    { code: result.code, stdout: result.stdout, stderr: result.stderr },
    { code: 7, stdout: 'out\n', stderr: 'err\n' },
  );
});

test('runc: the layers of the image are applied in order', async () => {
  const script =
    'cat /etc/motd; ls /opt/replaced /etc/removed; stat -c "%U %a" /home/app/notes /opt/setuid /tmp; id -G app';
  const result = await containerd.ctr(run('sh', '-c', script));
  assert.equal(
    result.stdout,
    'from the second layer\n/opt/replaced:\nsecond\napp 640\nroot 4755\nroot 1777\n1000 4\n',
  );
  assert.match(result.stderr, /\/etc\/removed: No such file/);
});

test('runc: stdin is piped through and ends', async () => {
  const data = Buffer.alloc(300_000, 'squib ');
  const result = await containerd.ctr(run('cat'), { stdin: data });
  assert.equal(result.code, 0, result.stderr);
  assert.ok(result.stdoutBytes.equals(data), `${result.stdoutBytes.length} bytes came back`);
});

test('a container outlives kill -9 of containerd, and is found again', async () => {
  const before = traces(containerd.dir);
  const started = await containerd.ctr([
    'run',
    '-d',
    '--runtime',
    RUNC,
    BUSYBOX_IMAGE,
    id(2),
    'sleep',
    '100',
  ]);
  assert.equal(started.code, 0, started.stderr);
  await containerd.kill();
  await containerd.start();
  assert.match(
    (await containerd.ctr(['tasks', 'ls'])).stdout,
    new RegExp(`^${id(2)}\\s+\\d+\\s+RUNNING`, 'm'),
  );
  assert.ok(existsSync(containerd.bundle(id(2))));
  await containerd.removeContainers();
  assert.deepEqual(traces(containerd.dir), before);
});

test('a ctr that does not end is killed at its deadline', async () => {
  await assert.rejects(containerd.ctr(run('sleep', '100'), { timeoutMs: 3000 }), {
    code: 'deadline-exceeded',
  });
});

test('close leaves no process, mount or directory', async () => {
  const second = await startContainerd();
  const started = await second.ctr(['run', '-d', '--runtime', RUNC, BUSYBOX_IMAGE, id(3), 'sleep', '100']);
  assert.equal(started.code, 0, started.stderr);
  await second.close();
  assert.deepEqual(processesUsing(second.dir), []);
  assert.deepEqual(mountsBelow(second.dir), []);
  assert.ok(!existsSync(second.dir));
});
