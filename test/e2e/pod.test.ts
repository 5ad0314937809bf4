import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { sleep } from '../../src/base/deadline.ts';
import { BUSYBOX_IMAGE } from '../../tools/busybox-image.ts';
import { type Containerd, SQUIB, startContainerd } from './containerd.ts';
import { processesNaming, traces } from './host-state.ts';

/** A Kubernetes pod as the CRI plugin makes it, by the annotations that group its containers. */
let containerd: Containerd;
before(async () => {
  containerd = await startContainerd();
});
after(() => containerd.close());

const annotation = (name: string, value: string) => ['--annotation', `io.kubernetes.cri.${name}=${value}`];

function run(
  role: 'sandbox' | 'container',
  pod: string,
  id: string,
  options: string[],
  ...command: string[]
) {
  const annotations = [...annotation('container-type', role), ...annotation('sandbox-id', pod)];
  return containerd.ctr([
    'run',
    ...options,
    '--runtime',
    SQUIB,
    ...annotations,
    BUSYBOX_IMAGE,
    id,
    ...command,
  ]);
}

test('the containers of a pod share one shim and one VM, and come and go by themselves', async () => {
  const before = traces(containerd.dir);
  const sandbox = await run('sandbox', 'pod1', 'pod1', ['-d'], 'sleep', '1000');
  assert.equal(sandbox.code, 0, sandbox.stderr);
  const server = await run('container', 'pod1', 'server', ['-d'], 'sleep', '1000');
  assert.equal(server.code, 0, server.stderr);
  for (const [id, status] of [
    ['a', 3],
    ['b', 4],
  ] as const) {
    const once = await run(
      'container',
      'pod1',
      id,
      ['--rm'],
      'sh',
      '-c',
      `cat /proc/sys/kernel/random/boot_id; exit ${status}`,
    );
    assert.equal(once.code, status, once.stderr);
    assert.match(once.stdout, /^[0-9a-f-]{36}\n$/);
  }
  const shims = processesNaming(containerd.address).filter(({ command }) =>
    command.includes('containerd-shim-squib'),
  );
  assert.equal(shims.length, 1, shims.map(({ command }) => command).join('\n'));
  assert.equal(processesNaming('guest=pod1').length, 1);
  assert.deepEqual(processesNaming('guest=server'), []);
  assert.match((await containerd.ctr(['tasks', 'ls'])).stdout, /^server\s+\d+\s+RUNNING/m);
  for (const id of ['server', 'pod1']) {
    const removed = await containerd.ctr(['tasks', 'rm', '-f', id]);
    assert.equal(removed.code, 0, removed.stderr);
    assert.equal((await containerd.ctr(['containers', 'rm', id])).code, 0);
  }
  // The shim answers its last call before it ends; a loaded host lets it wait.
  for (let i = 0; i < 50 && !isDeepStrictEqual(traces(containerd.dir), before); i++) await sleep(100);
  assert.deepEqual(traces(containerd.dir), before);
});

test('boot ids tell VMs apart: one per pod', async () => {
  const bootId = 'cat /proc/sys/kernel/random/boot_id';
  for (const pod of ['p1', 'p2'])
    assert.equal((await run('sandbox', pod, pod, ['-d'], 'sleep', '1000')).code, 0);
  const ids = new Map<string, string>();
  for (const [pod, id] of [
    ['p1', 'x1'],
    ['p1', 'x2'],
    ['p2', 'x3'],
  ] as const) {
    ids.set(id, (await run('container', pod, id, ['--rm'], 'sh', '-c', bootId)).stdout);
  }
  assert.equal(ids.get('x1'), ids.get('x2'));
  assert.notEqual(ids.get('x1'), ids.get('x3'));
  await containerd.removeContainers();
});

test('a container whose pod is not there is refused', async () => {
  const orphan = await run('container', 'nowhere', 'orphan', ['--rm'], 'true');
  assert.equal(orphan.code, 1);
  assert.match(orphan.stderr, /orphan belongs to pod nowhere, whose shim does not run/);
});
