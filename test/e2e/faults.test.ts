import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { BUSYBOX_IMAGE } from '../../tools/busybox-image.ts';
import { type Containerd, SQUIB, startContainerd } from './containerd.ts';
import { processesNaming, type Traces, traces } from './host-state.ts';

let containerd: Containerd;
let clean: Traces;
before(async () => {
  containerd = await startContainerd();
  clean = traces(containerd.dir);
});
after(() => containerd.close());

/** After every fault: no process, mount, socket, FIFO or file of ours. */
afterEach(async () => {
  for (let i = 0; i < 50 && leftovers().length > 0; i++) await sleep(100);
  assert.deepEqual(leftovers(), []);
});

/** ctr's own FIFO directory is not counted: it stays, with runc too, when a task vanishes under ctr. */
function leftovers(): string[] {
  const now = traces(containerd.dir);
  return (['processes', 'mounts', 'files'] as const)
    .flatMap((kind) => now[kind].filter((one) => !clean[kind].includes(one)))
    .filter((one) => !one.startsWith('/run/containerd/fifo/'))
    .concat(processesNaming(`guest=fault`).map(({ command }) => command.slice(0, 200)));
}

let serial = 0;
const freshId = () => `fault${++serial}`;

/** Options that give the shim a configuration of its own. */
function configured(toml: string): string[] {
  const path = join(containerd.dir, `config${serial}.toml`);
  writeFileSync(path, toml);
  return ['--runtime-config-path', path];
}

const run = (options: readonly string[], ...command: string[]) =>
  containerd.ctr(['run', '--rm', '--runtime', SQUIB, ...options, BUSYBOX_IMAGE, freshId(), ...command]);

/** Starts `sleep` detached; gives the container's id and the pids of its shim and VMM. */
async function startSleeper() {
  const id = freshId();
  const args = ['run', '-d', '--runtime', SQUIB, BUSYBOX_IMAGE, id, 'sleep', '1000'];
  const { code, stderr } = await containerd.ctr(args);
  assert.equal(code, 0, stderr);
  const [vmm] = processesNaming(`guest=${id}`);
  const [shim] = processesNaming(`-id ${id}`).filter(({ command }) => command.includes(containerd.dir));
  assert.ok(vmm && shim, 'shim and VMM run');
  return { id, vmm: vmm.pid, shim: shim.pid };
}

/** Waits for the task's end as a client does. */
const attach = (id: string) => containerd.ctr(['tasks', 'attach', id], { timeoutMs: 30_000 });

for (const [what, key, wanted] of [
  ['kernel', 'kernel', /kernel.*\/no\/such\/part/],
  ['initramfs', 'initramfs', /initr.*\/no\/such\/part/],
  ['QEMU', 'qemu', /qemu.*\/no\/such\/part|\/no\/such\/part.*qemu/i],
] as const) {
  test(`a missing ${what} is named, with what to do`, async () => {
    const result = await run(configured(`${key} = "/no/such/part"\n`), 'true');
    assert.equal(result.code, 1);
    assert.match(result.stderr, wanted);
  });
}

test('a configuration with an unknown key or a wrong type names key and line', async () => {
  const unknown = await run(configured('# squib\nmemory = 4\n'), 'true');
  assert.match(unknown.stderr, /config\d+\.toml:2: unknown key "memory"/);
  const wrong = await run(configured('vcpus = "many"\n'), 'true');
  assert.match(wrong.stderr, /config\d+\.toml:1: vcpus is "many"; expected an integer/);
  const gone = await run(['--runtime-config-path', '/no/such/config.toml'], 'true');
  assert.match(gone.stderr, /\/no\/such\/config\.toml/);
});

test('a guest that panics gives its last words', async () => {
  const initramfs = join(containerd.dir, 'garbage');
  writeFileSync(initramfs, 'this is no cpio archive');
  const started = Date.now();
  const result = await run(configured(`initramfs = "${initramfs}"\nboot_timeout_s = 30\n`), 'true');
  assert.equal(result.code, 1);
  assert.match(result.stderr, /Kernel panic - not syncing/);
  assert.ok(Date.now() - started < 25_000, 'the panic was noticed, not waited for');
});

test('a guest that never answers ends at the deadline', async () => {
  const tree = join(containerd.dir, 'mute');
  mkdirSync(join(tree, 'dev'), { recursive: true });
  copyFileSync('/bin/busybox', join(tree, 'busybox'));
  writeFileSync(join(tree, 'init'), '#!/busybox sh\nexec /busybox sleep 10000\n');
  chmodSync(join(tree, 'init'), 0o755);
  const initramfs = join(containerd.dir, 'mute.cpio');
  execFileSync('sh', ['-c', `cd "$1" && find . | cpio -o -H newc --quiet > "$2"`, 'sh', tree, initramfs]);
  const result = await run(configured(`initramfs = "${initramfs}"\nboot_timeout_s = 5\n`), 'true');
  assert.equal(result.code, 1);
  assert.match(result.stderr, /did not come within 5000 ms/);
});

test('kill -9 of the shim: delete cleans up and the task is 137', async () => {
  const { id, shim } = await startSleeper();
  const events = containerd.spawnCtr(['events']);
  let seen = '';
  events.stdout.on('data', (chunk: Buffer) => {
    seen += chunk.toString();
  });
  await sleep(300);
  process.kill(shim, 'SIGKILL');
  for (let i = 0; i < 100 && existsSync(containerd.bundle(id)); i++) await sleep(100);
  assert.ok(!existsSync(containerd.bundle(id)), 'the bundle is gone');
  await sleep(300);
  events.kill();
  assert.match(seen, new RegExp(`/tasks/exit .*"container_id":"${id}".*"exit_status":137`));
  assert.match(seen, new RegExp(`/tasks/delete .*"container_id":"${id}"`));
  assert.equal((await containerd.ctr(['containers', 'rm', id])).code, 0);
});

test('kill -9 of the VMM: the task ends with 137 and can be deleted', async () => {
  const { id, vmm } = await startSleeper();
  const ended = attach(id);
  await sleep(300);
  process.kill(vmm, 'SIGKILL');
  assert.equal((await ended).code, 137);
  assert.equal((await containerd.ctr(['containers', 'rm', id])).code, 0);
});

test('kill -9 of containerd: the container lives on and is found again', async () => {
  const { id, vmm } = await startSleeper();
  await containerd.kill();
  await containerd.start();
  assert.match(
    (await containerd.ctr(['tasks', 'ls'])).stdout,
    new RegExp(`^${id}\\s+${vmm}\\s+RUNNING`, 'm'),
  );
  const ended = attach(id);
  await sleep(300);
  assert.equal((await containerd.ctr(['tasks', 'kill', '-s', 'KILL', id])).code, 0);
  assert.equal((await ended).code, 137);
  assert.equal((await containerd.ctr(['containers', 'rm', id])).code, 0);
});

test('a container that ends while containerd is down is found stopped', async () => {
  const id = freshId();
  const args = ['run', '-d', '--runtime', SQUIB, BUSYBOX_IMAGE, id, 'sh', '-c', 'sleep 4; exit 3'];
  assert.equal((await containerd.ctr(args)).code, 0);
  await containerd.kill();
  await sleep(5000);
  await containerd.start();
  assert.match((await containerd.ctr(['tasks', 'ls'])).stdout, new RegExp(`^${id}\\s+\\d+\\s+STOPPED`, 'm'));
  assert.equal((await containerd.ctr(['tasks', 'rm', id])).code, 0);
  assert.equal((await containerd.ctr(['containers', 'rm', id])).code, 0);
});
