import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { Any } from '../../src/proto/any.ts';
import { BootstrapParams, BootstrapResult } from '../../src/proto/bootstrap.ts';
import { RuntimeInfo } from '../../src/proto/runtime-info.ts';
import { RuntimeOptions } from '../../src/proto/runtime-options.ts';
import { recordProcess } from '../../src/shim/process-record.ts';
import { processesNaming } from '../e2e/host-state.ts';
import { FakeContainerd, specOf } from '../fake/containerd.ts';

const launcher = new URL('../../cmd/containerd-shim-squib-v1', import.meta.url).pathname;

let containerd: FakeContainerd;
before(async () => {
  containerd = await FakeContainerd.start();
});
after(() => containerd.close());

let serial = 0;
const freshId = () => `l${++serial}`;

/** No shim, VMM or directory of it is left, or not for long. */
async function assertNothingRuns(): Promise<void> {
  const ours = () => processesNaming(containerd.dir).map(({ command }) => command);
  for (let i = 0; ours().length > 0 && i < 30; i++) await sleep(100);
  assert.deepEqual(ours(), []);
  assert.deepEqual(existsSync(containerd.runRoot) ? readdirSync(containerd.runRoot) : [], []);
}

async function shutdown(id: string, address: string): Promise<void> {
  const task = await containerd.dial(address);
  await task.call('Shutdown', { id });
  await task.closed;
}

const run = (...args: string[]) => spawnSync(launcher, args, { encoding: 'utf8', cwd: containerd.dir });

test('what is no action, or lacks its flags, fails with words and no output', () => {
  for (const [args, words] of [
    [[], /an action is missing/],
    [['-namespace'], /flag -namespace needs a value/],
    [['-namespace', 'x', 'dance'], /unknown action "dance"/],
    [['-namespace', 'x', 'start'], /-id is missing/],
    [['-id', 'x', 'start'], /-namespace is missing/],
  ] as const) {
    const { status, stdout, stderr } = run(...args);
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.match(stderr, words);
  }
});

test('-v prints the version of the package, -info is a RuntimeInfo', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  assert.match(run('-v').stdout, new RegExp(`Version: +${version.replaceAll('.', '\\.')}\\n`));
  for (const args of [['-info'], ['--info'], ['-debug', '-info']]) {
    const { stdout } = spawnSync(launcher, args, { input: 'options' });
    const info = RuntimeInfo.decode(stdout);
    assert.equal(info.name, 'io.containerd.squib.v1');
    assert.equal(info.version?.version, version);
  }
});

test('every NODE_ variable that this Node knows is taken from the environment', () => {
  const help = execFileSync(process.execPath, ['--help']).toString();
  const names = new Set(help.match(/^(NODE_\w+)/gm));
  assert.ok(names.size > 10, 'the help was understood');
  const text = readFileSync(launcher, 'utf8');
  const unset = /^unset ([\s\S]*?[^\\])\n/m.exec(text)?.[1] ?? '';
  names.delete('NODE_NO_WARNINGS');
  assert.deepEqual(
    [...names].filter((name) => !new RegExp(`\\b${name}\\b`).test(unset)),
    [],
  );
});

test('flags are read as Go reads them, in any order', async () => {
  const id = freshId();
  const bundle = containerd.makeBundle(id, specOf(['sleep']));
  const env = { PATH: process.env['PATH'] ?? '', SQUIB_CONFIG: join(containerd.dir, 'config.toml') };
  const args = [
    `--namespace=odd`,
    '-id',
    id,
    '--address',
    '/a b/c',
    `-bundle=${bundle}`,
    '-debug=true',
    'start',
    '-x',
  ];
  const bin = join(containerd.dir, 'bin', 'containerd-shim-squib-v1');
  const { status, stdout, stderr } = spawnSync(bin, args, { cwd: bundle, env, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  await shutdown(id, stdout);
  await assertNothingRuns();
});

test('a hostile environment changes nothing', async () => {
  const id = freshId();
  containerd.makeBundle(id, specOf(['sleep']));
  const { code, stdout, stderr } = await containerd.launch(id, 'start', {
    env: { NODE_OPTIONS: '--require=/no/such', NODE_EXTRA_CA_CERTS: '/no/such', NODE_DEBUG: 'net' },
  });
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  await shutdown(id, stdout.toString());
  await assertNothingRuns();
});

test('a start that cannot work says why, and leaves nothing', async () => {
  const configured = (toml: string) => {
    const path = join(containerd.dir, `bad${++serial}.toml`);
    writeFileSync(path, toml);
    return { env: { SQUIB_CONFIG: path } };
  };
  const cases: [Parameters<FakeContainerd['launch']>[2], (bundle: string) => void, RegExp][] = [
    [
      {},
      (bundle) => writeFileSync(join(bundle, 'config.json'), '{"ociVersion": 1}'),
      /ociVersion: expected a string/,
    ],
    [{}, (bundle) => writeFileSync(join(bundle, 'config.json'), 'x'), /config\.json is not JSON/],
    [configured('\nvcpu = 1\n'), () => {}, /bad\d+\.toml:2: unknown key "vcpu"/],
    [configured('state_dir = "/proc/nowhere"\n'), () => {}, /\/proc\/nowhere/],
    [{ stdin: Buffer.from('nonsense') }, () => {}, /neither runtime options nor bootstrap/],
    [{ env: { SQUIB_CONFIG: '/no/such.toml' } }, () => {}, /"\/no\/such\.toml" cannot be read/],
  ];
  for (const [options, prepare, words] of cases) {
    const id = freshId();
    prepare(containerd.makeBundle(id, specOf(['sleep'])));
    const { code, stdout, stderr } = await containerd.launch(id, 'start', options);
    assert.equal(code, 1, `${words}: ${stderr}`);
    assert.equal(stdout.length, 0);
    assert.match(stderr, words);
    assert.match(stderr, /^squib: /);
    const deleted = await containerd.launch(id, 'delete');
    assert.equal(deleted.code, 0, deleted.stderr);
  }
  await assertNothingRuns();
});

test('a daemon that dies before it answers is a failed start with its last words', async () => {
  const id = freshId();
  containerd.makeBundle(id, specOf(['sleep']));
  const lib = join(containerd.dir, 'lib', 'squib', 'shim.cjs');
  const good = readFileSync(lib);
  try {
    writeFileSync(lib, 'throw new Error("torn bundle")');
    const { code, stderr } = await containerd.launch(id, 'start');
    assert.equal(code, 1);
    assert.match(stderr, /the shim did not start: [\s\S]*torn bundle/);
  } finally {
    writeFileSync(lib, good);
  }
});

test('the options of 1.6 name a configuration', async () => {
  const id = freshId();
  containerd.makeBundle(id, specOf(['sleep']));
  const path = join(containerd.dir, 'options.toml');
  writeFileSync(path, `state_dir = "${containerd.runRoot}"\nstart_answer = "json"\n`);
  const stdin = Any.encode({
    typeUrl: RuntimeOptions.name,
    value: RuntimeOptions.encode({ configPath: path }),
  });
  const { code, stdout, stderr } = await containerd.launch(id, 'start', { stdin });
  assert.equal(code, 0, stderr);
  const { version, address, protocol } = JSON.parse(stdout.toString());
  assert.deepEqual({ version, protocol }, { version: 2, protocol: 'ttrpc' });
  await shutdown(id, address);
});

test('bootstrap parameters of 2.3 get a BootstrapResult, and both versions of the service', async () => {
  const id = freshId();
  const bundle = containerd.makeBundle(id, specOf(['sleep']));
  const stdin = BootstrapParams.encode({
    instanceId: id,
    namespace: containerd.namespace,
    containerdVersion: '2.3.0',
  });
  const { code, stdout, stderr } = await containerd.launch(id, 'start', { stdin });
  assert.equal(code, 0, stderr);
  const { version, address, protocol } = BootstrapResult.decode(stdout);
  assert.deepEqual({ version, protocol }, { version: 3, protocol: 'ttrpc' });
  assert.equal(readFileSync(join(bundle, 'address'), 'utf8'), address);
  const task = await containerd.dial(address);
  for (const service of [2, 3] as const) {
    assert.ok((await task.call('Connect', { id }, service)).shimPid > 0);
  }
  await task.call('Shutdown', { id }, 3);
});

test('a second start of the same container is refused while its shim runs', async () => {
  const id = freshId();
  containerd.makeBundle(id, specOf(['sleep']));
  const first = await containerd.launch(id, 'start');
  const second = await containerd.launch(id, 'start');
  assert.equal(second.code, 1);
  assert.match(second.stderr, /a shim for test\/l\d+ runs already \(process \d+\)/);
  await shutdown(id, first.stdout.toString());
});

test('a pod whose shim is dead takes no more containers', async () => {
  const pod = freshId();
  const annotations = { 'io.kubernetes.cri.sandbox-id': pod };
  containerd.makeBundle(pod, specOf(['sleep'], { annotations }));
  const started = await containerd.launch(pod, 'start');
  const task = await containerd.dial(started.stdout.toString());
  process.kill((await task.call('Connect', { id: pod })).shimPid, 'SIGKILL');
  await task.closed;
  const member = freshId();
  containerd.makeBundle(member, specOf(['sleep'], { annotations }));
  const { code, stderr } = await containerd.launch(member, 'start');
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`belongs to pod ${pod}, whose shim does not run`));
  assert.equal((await containerd.launch(member, 'delete')).code, 0);
  assert.equal((await containerd.launch(pod, 'delete')).code, 0);
  await assertNothingRuns();
});

test('a sandbox id that is a path leads nowhere', async () => {
  const id = freshId();
  const elsewhere = join(containerd.dir, 'state', 'elsewhere');
  mkdirSync(elsewhere, { recursive: true });
  writeFileSync(join(elsewhere, 'squib-run'), '/run');
  writeFileSync(join(elsewhere, 'address'), 'unix:///evil');
  const annotations = { 'io.kubernetes.cri.sandbox-id': '../elsewhere' };
  containerd.makeBundle(id, specOf(['sleep'], { annotations }));
  const { code, stdout, stderr } = await containerd.launch(id, 'start');
  assert.deepEqual({ code, stdout: stdout.toString() }, { code: 1, stdout: '' });
  assert.match(stderr, /belongs to pod/);
});

test('a guest that never comes up fails Create with its console, and leaves nothing', async () => {
  for (const [mode, words] of [
    [
      'mute',
      /the guest agent's first frame did not come within 1000 ms[\s\S]*the last words of the fake guest/,
    ],
    ['fail', /the guest kernel is not at \/nowhere/],
  ] as const) {
    const id = freshId();
    const bundle = containerd.makeBundle(id, specOf(['sleep']));
    const path = join(containerd.dir, 'mute.toml');
    writeFileSync(path, `state_dir = "${containerd.runRoot}"\nscratch_mib = 16\nboot_timeout_s = 1\n`);
    const env = { FAKE_ENGINE: mode, SQUIB_CONFIG: path };
    const { code, stdout, stderr } = await containerd.launch(id, 'start', { env });
    assert.equal(code, 0, stderr);
    const task = await containerd.dial(stdout.toString());
    await assert.rejects(task.call('Create', { id, bundle }), (thrown: Error) => words.test(thrown.message));
    await task.call('Shutdown', { id });
    assert.equal((await containerd.launch(id, 'delete')).stdout.length, 0);
  }
  await assertNothingRuns();
});

test('a shim that nobody dials goes away by itself', { timeout: 30_000 }, async () => {
  const id = freshId();
  const bundle = containerd.makeBundle(id, specOf(['sleep']));
  await containerd.launch(id, 'start');
  const run = readFileSync(join(bundle, 'squib-run'), 'utf8');
  const pid = Number(readFileSync(join(run, 'shim.pid'), 'utf8').split(' ')[0]);
  for (let i = 0; recordProcess(pid) && i < 150; i++) await sleep(100);
  assert.equal(recordProcess(pid), undefined);
  await assertNothingRuns();
});
