import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

/** tools/install, in a checkout that has small stand-ins for what is built. */
const tools = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'tools');
const BUILT = [
  'cmd/containerd-shim-squib-v1',
  'cmd/squib',
  'node_modules/node/bin/node',
  'build/dist/shim.cjs',
  'build/dist/delete.cjs',
  'build/dist/koffi.node',
  'build/dist/squib.cjs',
  'build/dist/convert.cjs',
  'build/dist/pino.cjs',
  'build/dist/smol-toml.cjs',
  'build/native/jail',
  'build/native/pass-fd',
  'build/native/kvm-probe',
  'build/kernel/vmlinux',
  'build/guest/initramfs',
  'LICENSE',
];
const INSTALLED = [
  'bin/containerd-shim-squib-v1',
  'bin/squib',
  'lib/squib/convert.cjs',
  'lib/squib/delete.cjs',
  'lib/squib/guest/initramfs',
  'lib/squib/guest/vmlinux',
  'lib/squib/jail',
  'lib/squib/koffi.node',
  'lib/squib/kvm-probe',
  'lib/squib/manifest',
  'lib/squib/node',
  'lib/squib/pass-fd',
  'lib/squib/pino.cjs',
  'lib/squib/shim.cjs',
  'lib/squib/smol-toml.cjs',
  'lib/squib/squib.cjs',
  'share/squib/LICENSE',
  'share/squib/config.toml',
];

let checkout: string;
let prefix: string;
beforeEach((t) => {
  const dir = mkdtempSync(join(tmpdir(), 'squib-install-'));
  if ('after' in t) t.after(() => rmSync(dir, { recursive: true }));
  checkout = join(dir, 'checkout');
  prefix = join(dir, 'prefix');
  cpSync(tools, join(checkout, 'tools'), { recursive: true });
  for (const path of BUILT) write(path, `${path}\n`);
});

function write(path: string, text: string): void {
  mkdirSync(dirname(join(checkout, path)), { recursive: true });
  writeFileSync(join(checkout, path), text);
}

function install(...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(join(checkout, 'tools', 'install'), ['--prefix', prefix, ...args], { encoding: 'utf8' });
}

function files(): string[] {
  if (!existsSync(prefix)) return [];
  return readdirSync(prefix, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(prefix.length + 1))
    .sort();
}

test('what is not built is named, and nothing is installed', () => {
  rmSync(join(checkout, 'build/dist/shim.cjs'));
  const result = install();
  assert.equal(result.status, 1);
  assert.match(result.stderr, /not built: build\/dist\/shim\.cjs\. Run tools\/setup and tools\/build first/);
  assert.deepEqual(files(), []);
});

test('a dry run says what it would do and does nothing', () => {
  const result = install('--dry-run');
  assert.equal(result.status, 0, result.stderr);
  assert.match(result.stdout, /lib\/squib\/shim\.cjs/);
  assert.ok(!existsSync(prefix));
});

test('installed twice: the same tree, and the second time nothing is copied', () => {
  assert.equal(install().status, 0);
  assert.deepEqual(files(), INSTALLED);
  assert.equal(statSync(join(prefix, 'bin/containerd-shim-squib-v1')).mode & 0o777, 0o755);
  assert.equal(statSync(join(prefix, 'lib/squib/shim.cjs')).mode & 0o777, 0o644);
  const inode = () => statSync(join(prefix, 'lib/squib/node')).ino;
  const first = inode();
  const manifest = readFileSync(join(prefix, 'lib/squib/manifest'), 'utf8');
  const again = install();
  assert.match(again.stdout, /already as this build says/);
  assert.equal(inode(), first);
  assert.equal(readFileSync(join(prefix, 'lib/squib/manifest'), 'utf8'), manifest);
});

test('a new build replaces what changed by rename, and takes off what is gone', () => {
  install();
  const manifest = join(prefix, 'lib/squib/manifest');
  writeFileSync(join(prefix, 'lib/squib/former.cjs'), '');
  appendFileSync(manifest, `f ${'0'.repeat(64)} lib/squib/former.cjs\n`);
  const before = statSync(join(prefix, 'lib/squib/shim.cjs')).ino;
  write('build/dist/shim.cjs', 'newer\n');
  const result = install();
  assert.match(result.stdout, /1 files put there/);
  assert.equal(readFileSync(join(prefix, 'lib/squib/shim.cjs'), 'utf8'), 'newer\n');
  assert.notEqual(statSync(join(prefix, 'lib/squib/shim.cjs')).ino, before);
  assert.deepEqual(files(), INSTALLED);
});

test('uninstall takes off exactly what install put there', () => {
  mkdirSync(join(prefix, 'bin'), { recursive: true });
  writeFileSync(join(prefix, 'bin/other'), '');
  install();
  assert.equal(install('uninstall', '--dry-run').status, 0);
  assert.deepEqual(files(), ['bin/other', ...INSTALLED].sort());
  const result = install('uninstall');
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(files(), ['bin/other']);
  assert.deepEqual(readdirSync(prefix), ['bin'], 'the directories it made are gone');
  assert.match(install('uninstall').stdout, /not installed there/);
});

test('uninstall keeps a sample configuration that was edited', () => {
  install();
  appendFileSync(join(prefix, 'share/squib/config.toml'), 'vcpus = 2\n');
  install('uninstall');
  assert.deepEqual(files(), ['share/squib/config.toml']);
});

test('uninstall refuses while a shim runs, and --force overrides', async (t) => {
  cpSync('/bin/sleep', join(checkout, 'node_modules/node/bin/node'));
  install();
  const shim = spawn(join(prefix, 'lib/squib/node'), ['60'], { stdio: 'ignore' });
  t.after(() => shim.kill('SIGKILL'));
  await once(shim, 'spawn');
  const refused = install('uninstall');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, new RegExp(`shim processes: ${shim.pid}`));
  assert.deepEqual(files(), INSTALLED);
  assert.equal(install('uninstall', '--force').status, 0);
  assert.deepEqual(files(), []);
});
