import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { helperPath, skipReason } from './built.ts';

const BUSYBOX = '/usr/bin/busybox';
const skip = skipReason('jail', true) || (existsSync(BUSYBOX) ? false : `needs ${BUSYBOX} (busybox-static)`);
const UID_BASE = 0x70000000;
const SYSTEM = ['--ro-if', '/usr', '--ro-if', '/lib', '--ro-if', '/lib64'];

const dir = mkdtempSync(join(tmpdir(), 'squib-jail-'));
after(() => rmSync(dir, { recursive: true }));

/** Runs a shell script in the jail. */
function jailed(script: string, options: string[] = SYSTEM, stdio: ('ignore' | 'pipe' | number)[] = []) {
  const args = ['--uid-base', String(UID_BASE), ...options, '--', BUSYBOX, 'sh', '-c', script];
  return spawnSync(helperPath('jail'), args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe', ...stdio],
  });
}

test('wrong usage runs nothing', { skip }, () => {
  const wrong = [
    [],
    ['--', BUSYBOX],
    ['--uid-base', '0', '--', BUSYBOX],
    ['--uid-base', '-1', '--', BUSYBOX],
    ['--uid-base', '99999999999', '--', BUSYBOX],
    ['--uid-base', '1x', '--', BUSYBOX],
    ['--uid-base', '5', '--keep-fds', '2', '--', BUSYBOX],
    ['--uid-base', '5', '--what', '--', BUSYBOX],
    ['--uid-base', '5', '--ro', 'relative', '/x', '--', BUSYBOX],
    ['--uid-base', '5', '--ro', '/usr', '/../x', '--', BUSYBOX],
    ['--uid-base', '5', '--'],
  ];
  for (const args of wrong) {
    const { status, stdout, stderr } = spawnSync(helperPath('jail'), args, { encoding: 'utf8' });
    assert.equal(status, 125, args.join(' '));
    assert.equal(stdout, '');
    assert.notEqual(stderr, '');
  }
});

test('a part that is missing is named, and nothing runs', { skip }, () => {
  const gone = jailed('echo ran', [...SYSTEM, '--ro', join(dir, 'none'), '/kernel']);
  assert.equal(gone.status, 125);
  assert.equal(gone.stdout, '');
  assert.match(gone.stderr, /^squib-jail: open .*none: No such file or directory\n$/);
  const program = spawnSync(helperPath('jail'), ['--uid-base', '5', '--', '/none'], { encoding: 'utf8' });
  assert.equal(program.status, 125);
  assert.match(program.stderr, /execute \/none/);
  assert.equal(jailed('echo ran', [...SYSTEM, '--ro-if', '/none']).stdout, 'ran\n');
});

test('without root it refuses instead of running unjailed', { skip }, () => {
  // The checkout may lie where only root may go.
  const place = mkdtempSync(join(tmpdir(), 'squib-jail-'));
  chmodSync(place, 0o755);
  copyFileSync(helperPath('jail'), join(place, 'jail'));
  const result = spawnSync(join(place, 'jail'), ['--uid-base', '5', '--', BUSYBOX, 'true'], {
    encoding: 'utf8',
    uid: 65534,
    gid: 65534,
  });
  rmSync(place, { recursive: true });
  assert.equal(result.status ?? result.error?.name, 125);
  assert.match(result.stderr, /squib-jail: /);
});

test('own uid and gid per process, no capabilities, no new privileges, no core', { skip }, () => {
  const script = 'busybox id -u; busybox id -g; busybox id -G; echo $$; ulimit -c; umask; busybox env';
  const [uid, gid, groups, pid, core, mask, ...env] = jailed(script).stdout.trimEnd().split('\n');
  assert.equal(Number(uid), UID_BASE + Number(pid));
  assert.equal(gid, uid);
  assert.equal(groups, uid);
  assert.equal(core, '0');
  assert.equal(mask, '0077');
  const foreign = env.filter((line) => !/^(PATH|PWD|SHLVL|OLDPWD|_|HOME|LOGNAME|USER|SHELL)=/.test(line));
  assert.deepEqual(foreign, [], 'the shell sets the rest itself');
});

test('its status shows what it lost', { skip }, () => {
  const proc = join(dir, 'proc');
  mkdirSync(proc, { recursive: true });
  // A view of /proc for this test only.
  const script = 'busybox cat /proc/self/status /proc/self/oom_score_adj';
  const { stdout } = jailed(script, [...SYSTEM, '--ro', '/proc', '/proc']);
  const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(stdout)?.[1]?.trim();
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.match(field(set) ?? '', /^0+$/, set);
  assert.equal(field('NoNewPrivs'), '1');
  assert.equal(field('Groups'), '');
  assert.ok(stdout.endsWith('\n0\n'), 'oom_score_adj');
  const links = jailed('busybox ip -o link').stdout.trimEnd().split('\n');
  assert.equal(links.length, 1);
  assert.match(links[0] ?? '', /^1: lo: <LOOPBACK> .*/);
});

test('sees the named paths read-only and nothing else', { skip }, () => {
  const kernel = join(dir, 'private');
  mkdirSync(kernel, { mode: 0o700 });
  writeFileSync(join(kernel, 'vmlinux'), 'kernel bytes', { mode: 0o644 });
  const script = `
    busybox ls /; busybox cat /kernel; busybox ls /dev
    for target in /x /usr/x /dev/x /tmp/x; do echo x 2>/dev/null >$target && echo "wrote $target"; done
    echo x 2>/dev/null >>/kernel && echo "wrote kernel"
    echo x >/dev/null && busybox head -c 3 /dev/urandom | busybox wc -c
    busybox ls /proc/1 ${dir} /root /etc/shadow 2>/dev/null; busybox mount -t tmpfs x /usr 2>/dev/null && echo mounted`;
  const lines = jailed(script, [...SYSTEM, '--ro', join(kernel, 'vmlinux'), '/kernel'])
    .stdout.trimEnd()
    .split('\n');
  const root = ['dev', 'kernel', 'lib', 'lib64', 'usr'];
  assert.deepEqual(lines, [
    ...root.filter((name) => name === 'kernel' || existsSync(`/${name}`)),
    'kernel bytesnull',
    'urandom',
    '3',
  ]);
});

test('an unreadable file stays unreadable', { skip }, () => {
  writeFileSync(join(dir, 'secret'), 'secret', { mode: 0o600 });
  assert.equal(jailed('busybox cat /secret', [...SYSTEM, '--ro', join(dir, 'secret'), '/secret']).stdout, '');
});

test('keeps the named descriptors and closes the rest', { skip }, () => {
  const passed = openSync(join(dir, 'passed'), 'w+');
  const script = 'for fd in 3 4 5 6 7 8 9; do (busybox true <&$fd) 2>/dev/null && echo $fd; done; true';
  const stdio = Array.from({ length: 5 }, () => passed);
  assert.equal(jailed(script, [...SYSTEM, '--keep-fds', '6'], stdio).stdout, '3\n4\n5\n');
  assert.equal(jailed(script, SYSTEM, stdio).stdout, '');
});

test('leaves the host’s mounts, and its own namespaces end with it', { skip }, () => {
  const mounts = () => execFileSync('cat', ['/proc/self/mounts'], { encoding: 'utf8' });
  const before = [mounts(), readlinkSync('/proc/self/ns/mnt')];
  assert.equal(jailed('true').status, 0);
  assert.deepEqual([mounts(), readlinkSync('/proc/self/ns/mnt')], before);
});

test('/dev/kvm is there only on demand and belongs to the jailed user', { skip }, () => {
  assert.equal(jailed('busybox ls /dev/kvm 2>/dev/null').stdout, '');
  const shown = jailed('busybox stat -c "%a %u %t:%T" /dev/kvm; busybox id -u', [...SYSTEM, '--kvm']).stdout;
  const [stat, uid] = shown.trimEnd().split('\n');
  assert.equal(stat, `600 ${uid} a:e8`);
});
