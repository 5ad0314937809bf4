import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { BUSYBOX_IMAGE } from '../../tools/busybox-image.ts';
import { type Containerd, type CtrResult, RUNC, SQUIB, startContainerd } from './containerd.ts';
import { type Traces, traces } from './host-state.ts';

/** Every promise is kept by runc too: an expectation that is wrong shows there. */
const RUNTIMES = [RUNC, SQUIB];

let containerd: Containerd;
let clean: Traces;
before(async () => {
  containerd = await startContainerd();
  clean = traces(containerd.dir);
});
after(() => containerd.close());

let serial = 0;
/** runc keeps its containers of all containerds in one directory: the ids of runs beside each other must differ. */
const freshId = () => `c${process.pid}-${++serial}`;

/** `ctr run --rm` with options before the image. */
function run(runtime: string, command: readonly string[], options: readonly string[] = []) {
  return containerd.ctr([
    'run',
    '--rm',
    '--runtime',
    runtime,
    ...options,
    BUSYBOX_IMAGE,
    freshId(),
    ...command,
  ]);
}

const SUCCESS = { code: 0, stdout: '', stderr: '' };
const outcome = ({ code, stdout, stderr }: CtrResult) => ({ code, stdout, stderr });

/** A shim answers its last call before it ends; a loaded host lets it wait. */
const LAST_EXIT_MS = 5000;

/** Nothing is on the host that was not there before the first container. */
async function assertClean(): Promise<void> {
  const fresh = () => {
    const now = traces(containerd.dir);
    return (['processes', 'mounts', 'files'] as const).flatMap((kind) =>
      now[kind].filter((one) => !clean[kind].includes(one)),
    );
  };
  for (let waited = 0; waited < LAST_EXIT_MS && fresh().length > 0; waited += 100) await sleep(100);
  assert.deepEqual(fresh(), []);
}

for (const runtime of RUNTIMES) {
  describe(runtime, () => {
    after(() => assertClean());

    test('a command that is not there fails with the words of runc, and leaves nothing', async () => {
      const missing = await run(runtime, ['no-such-command']);
      assert.equal(missing.code, 1);
      assert.match(missing.stderr, /exec: "no-such-command": executable file not found in \$PATH/);
      const absolute = await run(runtime, ['/no/such']);
      assert.match(absolute.stderr, /exec: "\/no\/such": stat \/no\/such: no such file or directory/);
      const forbidden = await run(runtime, ['/etc/passwd']);
      assert.match(forbidden.stderr, /exec: "\/etc\/passwd": permission denied/);
      assert.equal((await containerd.ctr(['tasks', 'ls', '-q'])).stdout, '');
    });

    test('output, error output and exit status come back', async () => {
      const result = await run(runtime, ['sh', '-c', 'echo out; echo err >&2; exit 7']);
      assert.deepEqual(outcome(result), { code: 7, stdout: 'out\n', stderr: 'err\n' });
    });

    test('stdin is piped through, byte for byte, and ends', async () => {
      // Above what the FIFOs hold: ctr 1.6 forgets CloseIO when EOF comes before the container is there. And not
      // too much for runc: its shim now and then loses the tail of a large input, when CloseIO overtakes it.
      const data = Buffer.alloc(runtime === RUNC ? 300_000 : 3_000_000);
      for (let i = 0; i < data.length; i++) data[i] = (i * 7 + (i >> 8)) & 0xff;
      const id = freshId();
      const result = await containerd.ctr(['run', '--rm', '--runtime', runtime, BUSYBOX_IMAGE, id, 'cat'], {
        stdin: data,
      });
      assert.equal(result.code, 0, result.stderr);
      assert.ok(
        result.stdoutBytes.equals(data),
        `${result.stdoutBytes.length} of ${data.length} bytes came back`,
      );
    });

    test('a burst of 8 MiB before the exit is complete', async () => {
      const result = await run(runtime, ['sh', '-c', 'head -c 8388608 /dev/zero | tr "\\0" x; echo end >&2']);
      assert.deepEqual(
        { bytes: result.stdoutBytes.length, stderr: result.stderr },
        { bytes: 8_388_608, stderr: 'end\n' },
      );
    });

    test('environment and working directory are the asked ones', async () => {
      const options = ['--env', 'GREETING=hello there', '--cwd', '/home/app'];
      const result = await run(runtime, ['sh', '-c', 'echo "$GREETING $PWD"'], options);
      assert.equal(result.stdout, 'hello there /home/app\n', result.stderr);
    });

    test('a read-only root refuses writes', async () => {
      const result = await run(runtime, ['touch', '/new'], ['--read-only']);
      assert.equal(result.code, 1);
      assert.match(result.stderr, /touch: \/new: Read-only file system/);
    });

    test('a memory limit is the cgroup limit, and passing it is 137', async () => {
      const limit = 64 << 20;
      const result = await run(
        runtime,
        ['sh', '-c', 'exec dd if=/dev/zero of=/dev/null bs=200M count=1'],
        ['--memory-limit', String(limit)],
      );
      assert.equal(result.code, 137, `${result.stdout.slice(0, 100)} ${result.stderr}`);
    });

    test('a detached task can be listed, measured, killed and deleted', async () => {
      const id = freshId();
      const started = await containerd.ctr([
        'run',
        '-d',
        '--runtime',
        runtime,
        BUSYBOX_IMAGE,
        id,
        'sleep',
        '1000',
      ]);
      assert.equal(started.code, 0, started.stderr);
      assert.match(
        (await containerd.ctr(['tasks', 'ls'])).stdout,
        new RegExp(`^${id}\\s+[1-9]\\d*\\s+RUNNING`, 'm'),
      );
      assert.match((await containerd.ctr(['tasks', 'ps', id])).stdout, /^[1-9]\d*\s/m);
      const metrics = await containerd.ctr(['tasks', 'metrics', id]);
      assert.equal(metrics.code, 0, metrics.stderr);
      assert.match(metrics.stdout, /memory|cpu/);
      const early = await containerd.ctr(['tasks', 'rm', id]);
      assert.notEqual(early.code, 0, 'a running task must not be deleted');
      const attached = containerd.ctr(['tasks', 'attach', id]);
      await sleep(500);
      assert.equal((await containerd.ctr(['tasks', 'kill', '-s', 'KILL', id])).code, 0);
      assert.equal((await attached).code, 137);
      assert.equal((await containerd.ctr(['containers', 'rm', id])).code, 0);
    });

    test('SIGTERM reaches a process that handles it', async () => {
      const id = freshId();
      const script = 'trap "exit 42" TERM; while :; do sleep 0.1; done';
      const args = ['run', '-d', '--runtime', runtime, BUSYBOX_IMAGE, id, 'sh', '-c', script];
      assert.equal((await containerd.ctr(args)).code, 0);
      const wait = containerd.ctr(['tasks', 'attach', id]);
      await sleep(500);
      await containerd.ctr(['tasks', 'kill', '-s', 'TERM', id]);
      assert.equal((await wait).code, 42);
      await containerd.ctr(['tasks', 'rm', id]);
      assert.equal((await containerd.ctr(['containers', 'rm', id])).code, 0);
    });

    test('a stopped container that starts again finds its data', async () => {
      const id = freshId();
      const script = 'cat /kept 2>/dev/null; echo written > /kept';
      const args = ['run', '--runtime', runtime, BUSYBOX_IMAGE, id, 'sh', '-c', script];
      assert.deepEqual(outcome(await containerd.ctr(args)), { code: 0, stdout: '', stderr: '' });
      assert.equal((await containerd.ctr(['tasks', 'start', id])).stdout, 'written\n');
      assert.equal((await containerd.ctr(['containers', 'rm', id])).code, 0);
    });

    test('events come in order: create, start, exit, delete', async () => {
      const events = containerd.spawnCtr(['events']);
      let text = '';
      events.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      await sleep(300);
      await run(runtime, ['true']);
      await waitFor(async () => text.includes('/tasks/delete'), 'the delete event');
      events.kill();
      const topics = [...text.matchAll(/ (\/tasks\/\S+)/g)].map((m) => m[1]);
      assert.deepEqual(topics, ['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']);
    });
  });
}

async function waitFor(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `waited 30 s for ${what}`);
    await sleep(100);
  }
}

describe('squib beside runc', () => {
  /**
   * What a container sees of itself must be the same; each is a script whose output is compared.
   * /proc/kcore and sysrq are left out: not every host's kernel has them.
   */
  const VIEWS: Readonly<Record<string, string>> = {
    'capabilities, no_new_privs': 'grep -E "^(Cap|NoNewPrivs)" /proc/self/status',
    'user and groups': 'id; umask',
    'resource limits': 'ulimit -n; ulimit -c',
    environment: 'env | grep -v "^HOSTNAME" | sort',
    'process tree': 'echo $$ $PPID; cat /proc/1/comm; cut -d" " -f5-7 /proc/1/stat',
    'root directory': "ls -la / | awk '{print $1, $3, $4, $9}'",
    devices:
      'ls -l /dev | awk \'{print $1, $3, $4, $5, $6, $NF}\' | grep -vE "^total|shm|mqueue|kcore" | sort',
    'mounted types':
      'awk \'{print $2, $3}\' /proc/mounts | grep -vE "^/ |^/sys/fs/cgroup|kcore|sysrq" | sort',
    'masked and read-only paths':
      'head -c 1 /proc/keys | wc -c; ls /proc/scsi /sys/firmware | wc -l; touch /proc/sys/x 2>&1',
  };
  for (const [what, script] of Object.entries(VIEWS)) {
    test(`${what} are the same`, async () => {
      const [ours, theirs] = [await run(SQUIB, ['sh', '-c', script]), await run(RUNC, ['sh', '-c', script])];
      assert.deepEqual(outcome(ours), outcome(theirs));
      assert.notEqual(theirs.stdout, '');
    });
  }

  test('the kernel is another one, and PID 1 of the VM is not of the host', async () => {
    const ours = await run(SQUIB, ['uname', '-r']);
    const theirs = await run(RUNC, ['uname', '-r']);
    assert.notEqual(ours.stdout, theirs.stdout);
    assert.match(ours.stdout, /^\d+\.\d+/);
  });

  test('20 runs in a row and 4 at once leave nothing', async () => {
    for (let i = 0; i < 20; i++) assert.deepEqual(outcome(await run(SQUIB, ['true'])), SUCCESS);
    const atOnce = await Promise.all(
      Array.from({ length: 4 }, (_, i) => run(SQUIB, ['sh', '-c', `exit ${i}`])),
    );
    assert.deepEqual(
      atOnce.map(outcome),
      [0, 1, 2, 3].map((code) => ({ ...SUCCESS, code })),
    );
    await assertClean();
  });
});
