import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { SquibError } from '../../src/base/errors.ts';
import { unpackAny } from '../../src/proto/any.ts';
import { TaskExit } from '../../src/proto/events.ts';
import { Metrics } from '../../src/proto/metrics-v2.ts';
import { DeleteResponse, TASK_STATUS } from '../../src/proto/task.ts';
import { recordProcess } from '../../src/shim/process-record.ts';
import { FakeContainerd, specOf, type TaskClient } from '../fake/containerd.ts';

let containerd: FakeContainerd;
before(async () => {
  containerd = await FakeContainerd.start();
});
after(() => containerd.close());

let serial = 0;

interface Started {
  readonly id: string;
  readonly bundle: string;
  readonly address: string;
  readonly task: TaskClient;
}

async function start(args: readonly string[], more: Record<string, unknown> = {}): Promise<Started> {
  const id = `c${++serial}`;
  const bundle = containerd.makeBundle(id, specOf(args, more));
  const { code, stdout, stderr } = await containerd.launch(id, 'start');
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  const address = stdout.toString();
  return { id, bundle, address, task: await containerd.dial(address) };
}

function fifo(bundle: string, name: string): string {
  const path = join(bundle, name);
  execFileSync('mkfifo', [path]);
  return path;
}

const create = (
  id: string,
  bundle: string,
  io: { stdin?: string; stdout?: string; stderr?: string } = {},
) => ({
  id,
  bundle,
  ...io,
});

function isCode(code: string, words: RegExp) {
  return (thrown: unknown) =>
    thrown instanceof SquibError && thrown.code === code && words.test(thrown.message);
}

/** The verbs after the exit, as `ctr run --rm` sends them. */
async function finish({ id, task, bundle }: Started): Promise<void> {
  await task.call('Shutdown', { id });
  await task.closed;
  const deleted = await containerd.launch(id, 'delete');
  assert.deepEqual(
    { code: deleted.code, stdout: deleted.stdout.length },
    { code: 0, stdout: 0 },
    deleted.stderr,
  );
  assert.ok(existsSync(join(bundle, 'squib-clean')));
}

test('the sequence of ctr run --rm', async () => {
  const started = await start(['echo', 'hello', 'there']);
  const { id, bundle, address, task } = started;
  assert.match(address, /^unix:\/\/\/.+\/task\.sock$/);
  assert.ok(address.length <= 106 + 'unix://'.length);
  assert.equal(statSync(address.slice(7)).mode & 0o777, 0o600);
  assert.equal(statSync(join(address.slice(7), '..')).mode & 0o777, 0o700);
  assert.equal(readFileSync(join(bundle, 'address'), 'utf8'), address);
  const stdout = fifo(bundle, 'stdout');
  const output = createReadStream(stdout).setEncoding('utf8').toArray();
  const { pid } = await task.call('Create', create(id, bundle, { stdout }));
  assert.ok(pid > 0);
  const { shimPid, taskPid } = await task.call('Connect', { id });
  assert.equal(taskPid, pid);
  assert.ok(shimPid !== pid && shimPid > 0);
  assert.equal((await task.call('State', { id })).status, TASK_STATUS.created);
  assert.equal((await task.call('Start', { id })).pid, pid);
  const { exitStatus, exitedAt } = await task.call('Wait', { id });
  assert.equal(exitStatus, 0);
  assert.ok(Math.abs((exitedAt?.seconds ?? 0) - Date.now() / 1000) < 30);
  assert.equal((await output).join(''), 'hello there');
  const state = await task.call('State', { id });
  assert.equal(state.status, TASK_STATUS.stopped);
  assert.equal(state.bundle, bundle);
  const deleted = await task.call('Delete', { id });
  assert.equal(deleted.exitStatus, 0);
  await finish(started);
  const mine = containerd.events.filter(({ event }) => Buffer.from(event?.value ?? []).includes(id));
  assert.deepEqual(
    mine.map(({ topic }) => topic),
    ['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete'],
  );
  assert.ok(mine.every(({ namespace }) => namespace === 'test'));
  assert.deepEqual(readdirSync(containerd.runRoot), []);
  assert.equal(recordProcess(pid), undefined, 'the VMM is gone');
  for (let i = 0; recordProcess(shimPid) && i < 100; i++) await sleep(10);
  assert.equal(recordProcess(shimPid), undefined, 'the shim is gone');
});

test('stdin reaches the process, EOF comes by CloseIO alone, and nothing is lost', async () => {
  const started = await start(['cat']);
  const { id, bundle, task } = started;
  const stdin = fifo(bundle, 'stdin');
  const stdout = fifo(bundle, 'stdout');
  await task.call('Create', create(id, bundle, { stdin, stdout }));
  await task.call('Start', { id });
  const output = createReadStream(stdout).toArray();
  const data = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => i % 251));
  const writer = createWriteStream(stdin);
  writer.end(data);
  await new Promise((resolve) => writer.once('close', resolve));
  await sleep(300);
  assert.equal((await task.call('State', { id })).status, TASK_STATUS.running, 'no EOF before CloseIO');
  await task.call('CloseIO', { id, stdin: true });
  assert.equal((await task.call('Wait', { id })).exitStatus, 0);
  assert.ok(Buffer.concat(await output).equals(data));
  await task.call('CloseIO', { id, stdin: true });
  await task.call('Delete', { id });
  await finish(started);
});

test('Wait answers when a slow reader has got all of the output', async () => {
  const started = await start(['flood', '2000000']);
  const { id, bundle, task } = started;
  const stdout = fifo(bundle, 'stdout');
  const reader = createReadStream(stdout, { highWaterMark: 65_536 });
  const seen: Buffer[] = [];
  let readerDone = false;
  const reading = (async () => {
    for await (const chunk of reader) {
      seen.push(chunk as Buffer);
      await sleep(20);
    }
    readerDone = true;
  })();
  await task.call('Create', create(id, bundle, { stdout }));
  await task.call('Start', { id });
  assert.equal((await task.call('Wait', { id })).exitStatus, 0);
  // A FIFO holds 64 KiB and the reader's own buffer another chunk or two.
  const length = Buffer.concat(seen).length;
  assert.ok(length >= 2_000_000 - 4 * 65_536, `${length} bytes were read when Wait answered`);
  await reading;
  assert.ok(readerDone);
  const all = Buffer.concat(seen);
  assert.equal(all.length, 2_000_000);
  assert.ok(all.every((byte, i) => byte === i % 251));
  await task.call('Delete', { id });
  await finish(started);
});

test('output that nobody reads does not hold up the exit for ever', async () => {
  const started = await start(['flood', '500000']);
  const { id, bundle, task } = started;
  await task.call('Create', create(id, bundle, { stdout: fifo(bundle, 'stdout') }));
  await task.call('Start', { id });
  const before = Date.now();
  assert.equal((await task.call('Wait', { id })).exitStatus, 0);
  assert.ok(Date.now() - before >= 4_000);
  await task.call('Delete', { id });
  await finish(started);
});

test('what fits into the FIFO waits there for a reader that comes after the exit', async () => {
  const started = await start(['echo', 'late']);
  const { id, bundle, task } = started;
  const stdout = fifo(bundle, 'stdout');
  await task.call('Create', create(id, bundle, { stdout }));
  await task.call('Start', { id });
  await task.call('Wait', { id });
  const output = createReadStream(stdout).setEncoding('utf8').toArray();
  await sleep(100);
  await task.call('Delete', { id });
  assert.equal((await output).join(''), 'late');
  await finish(started);
});

test('a stream that a stray process keeps open ends with the idle deadline', async () => {
  const started = await start(['orphan']);
  const { id, bundle, task } = started;
  const stdout = fifo(bundle, 'stdout');
  const output = createReadStream(stdout).setEncoding('utf8').toArray();
  await task.call('Create', create(id, bundle, { stdout }));
  await task.call('Start', { id });
  assert.equal((await task.call('Wait', { id })).exitStatus, 0);
  assert.equal((await output).join(''), 'left open');
  await task.call('Delete', { id });
  await finish(started);
});

test('kill, exit status, and what each state refuses', async () => {
  const started = await start(['sleep']);
  const { id, bundle, task } = started;
  await assert.rejects(task.call('State', { id }), isCode('not-found', /container not created/));
  await task.call('Create', create(id, bundle));
  await assert.rejects(task.call('Create', create(id, bundle)), isCode('already-exists', new RegExp(id)));
  await task.call('Start', { id });
  await assert.rejects(
    task.call('Start', { id }),
    isCode('failed-precondition', /cannot start a running process/),
  );
  await assert.rejects(
    task.call('Delete', { id }),
    isCode('failed-precondition', /cannot delete a running process/),
  );
  await assert.rejects(
    task.call('State', { id, execId: 'x' }),
    isCode('not-found', /process does not exist x/),
  );
  await assert.rejects(task.call('Pause', { id }), isCode('unimplemented', /pause/));
  await assert.rejects(task.call('Exec', { id, execId: 'e' }), isCode('unimplemented', /exec/));
  const waiting = task.call('Wait', { id });
  await task.call('Shutdown', { id });
  assert.equal((await task.call('State', { id }, 3)).status, TASK_STATUS.running, 'Shutdown was ignored');
  assert.equal((await task.call('Pids', { id })).processes.length, 1);
  await task.call('Kill', { id, signal: 15 });
  assert.equal((await waiting).exitStatus, 143);
  assert.equal((await task.call('Wait', { id })).exitStatus, 143);
  await assert.rejects(task.call('Kill', { id, signal: 9 }), isCode('not-found', /process already finished/));
  await assert.rejects(
    task.call('Start', { id }),
    isCode('failed-precondition', /cannot start a stopped process/),
  );
  const deleted = await task.call('Delete', { id });
  assert.equal(deleted.exitStatus, 143);
  await assert.rejects(task.call('Delete', { id }), isCode('not-found', /container not created/));
  await finish(started);
});

test('Stats are cgroup v2 metrics, and never missing', async () => {
  const started = await start(['sleep']);
  const { id, bundle, task } = started;
  await task.call('Create', create(id, bundle));
  const { stats } = await task.call('Stats', { id });
  assert.ok(stats);
  const metrics = unpackAny(stats, Metrics);
  assert.equal(metrics.memory?.usage, 4096);
  assert.equal(metrics.memory?.usageLimit, 2 ** 64);
  assert.equal(metrics.memory?.anon, 11);
  assert.equal(metrics.memory?.kernelStack, 12);
  assert.equal(metrics.cpu?.usageUsec, 13);
  assert.deepEqual(metrics.io?.usage[0], { major: 8, minor: 0, rbytes: 5, wbytes: 6, rios: 7, wios: 8 });
  await task.call('Kill', { id, signal: 9 });
  await task.call('Wait', { id });
  assert.ok((await task.call('Stats', { id })).stats);
  await task.call('Delete', { id });
  await finish(started);
});

test('a created container that never started is deleted with status 137', async () => {
  const started = await start(['sleep']);
  const { id, bundle, task } = started;
  await task.call('Create', create(id, bundle));
  assert.equal((await task.call('Delete', { id })).exitStatus, 137);
  await finish(started);
});

test('a process that dies before Start is found stopped', async () => {
  const started = await start(['crash']);
  const { id, bundle, task } = started;
  await task.call('Create', create(id, bundle));
  assert.equal((await task.call('Wait', { id })).exitStatus, 139);
  await task.call('Delete', { id });
  await finish(started);
});

test('a Create that fails leaves nothing, and says what runc would', async () => {
  const started = await start(['missing']);
  const { id, bundle, task } = started;
  await assert.rejects(
    task.call('Create', create(id, bundle)),
    isCode(
      'unknown',
      /OCI runtime create failed: unable to start container process: exec: "missing": executable file not found in \$PATH/,
    ),
  );
  await assert.rejects(task.call('Delete', { id }), isCode('not-found', /container not created/));
  assert.deepEqual(readdirSync(join(bundle, 'work', 'squib')), []);
  await finish(started);
});

test('kill -9 of the VMM: the exit is 137, and the verbs go on', async () => {
  const started = await start(['sleep']);
  const { id, bundle, task } = started;
  const { pid } = await task.call('Create', create(id, bundle));
  await task.call('Start', { id });
  const waiting = task.call('Wait', { id });
  process.kill(pid, 'SIGKILL');
  assert.equal((await waiting).exitStatus, 137);
  const exitOf = () =>
    containerd.events
      .filter(({ event }) => event?.typeUrl === TaskExit.name)
      .map(({ event }) => TaskExit.decode(event?.value ?? new Uint8Array()))
      .find((exit) => exit.id === id);
  for (let i = 0; !exitOf() && i < 50; i++) await sleep(20);
  assert.equal(exitOf()?.exitStatus, 137);
  await assert.rejects(task.call('Kill', { id, signal: 9 }), isCode('not-found', /already finished/));
  assert.equal((await task.call('Delete', { id })).exitStatus, 137);
  await finish(started);
});

test('kill -9 of the shim: delete ends the VMM, removes all and reports 137', async () => {
  const { id, bundle, task } = await start(['sleep']);
  const { pid } = await task.call('Create', create(id, bundle));
  const { shimPid } = await task.call('Connect', { id });
  process.kill(shimPid, 'SIGKILL');
  await task.closed;
  const { code, stdout, stderr } = await containerd.launch(id, 'delete');
  assert.equal(code, 0, stderr);
  const answer = DeleteResponse.decode(stdout);
  assert.equal(answer.exitStatus, 137);
  assert.equal(answer.pid, pid);
  assert.ok(Math.abs((answer.exitedAt?.seconds ?? 0) - Date.now() / 1000) < 30);
  assert.equal(recordProcess(pid), undefined);
  assert.deepEqual(readdirSync(containerd.runRoot), []);
});

test('SIGTERM ends the pod in order, and delete still reports 137', async () => {
  const { id, bundle, task } = await start(['sleep']);
  const { pid } = await task.call('Create', create(id, bundle));
  const { shimPid } = await task.call('Connect', { id });
  process.kill(shimPid, 'SIGTERM');
  await task.closed;
  assert.equal(recordProcess(pid), undefined);
  const { stdout } = await containerd.launch(id, 'delete');
  assert.equal(DeleteResponse.decode(stdout).exitStatus, 137);
  assert.deepEqual(readdirSync(containerd.runRoot), []);
});

test('containers of a pod share one shim, and one of them does not end it', async () => {
  const annotations = (type: string, sandbox: string) => ({
    annotations: {
      'io.kubernetes.cri.container-type': type,
      'io.kubernetes.cri.sandbox-id': sandbox,
    },
  });
  const podId = `c${serial + 1}`;
  const pod = await start(['sleep'], annotations('sandbox', podId));
  const { pid } = await pod.task.call('Create', create(pod.id, pod.bundle));
  await pod.task.call('Start', { id: pod.id });
  const paths = { ipc: 'ipc', uts: 'uts', network: 'net' };
  const member = `c${++serial}`;
  const bundle = containerd.makeBundle(
    member,
    specOf(['sleep'], {
      ...annotations('container', pod.id),
      linux: {
        namespaces: [
          { type: 'pid' },
          { type: 'mount' },
          ...Object.entries(paths).map(([type, name]) => ({ type, path: `/proc/${pid}/ns/${name}` })),
        ],
      },
    }),
  );
  const { code, stdout, stderr } = await containerd.launch(member, 'start');
  assert.equal(code, 0, stderr);
  assert.equal(stdout.toString(), pod.address);
  const created = await pod.task.call('Create', create(member, bundle));
  assert.equal(created.pid, pid);
  assert.equal(readFileSync(join(bundle, 'address'), 'utf8'), pod.address);
  await pod.task.call('Start', { id: member });
  await pod.task.call('Kill', { id: member, signal: 9 });
  assert.equal((await pod.task.call('Wait', { id: member })).exitStatus, 137);
  await pod.task.call('Delete', { id: member });
  await pod.task.call('Shutdown', { id: member });
  const gone = await containerd.launch(member, 'delete');
  assert.deepEqual({ code: gone.code, stdout: gone.stdout.length }, { code: 0, stdout: 0 });
  assert.equal((await pod.task.call('State', { id: pod.id })).status, TASK_STATUS.running);
  await pod.task.call('Kill', { id: pod.id, signal: 9 });
  await pod.task.call('Wait', { id: pod.id });
  await pod.task.call('Delete', { id: pod.id });
  await finish(pod);
});

test('another namespace, another shim', async () => {
  const one = await start(['sleep']);
  const bundle = containerd.makeBundle('other', specOf(['sleep']));
  const other = await containerd.launch('other', 'start');
  assert.notEqual(other.stdout.toString(), one.address);
  const task = await containerd.dial(other.stdout.toString());
  await task.call('Shutdown', { id: 'other' });
  assert.ok(existsSync(join(bundle, 'squib-clean')));
  await one.task.call('Shutdown', { id: one.id });
});
