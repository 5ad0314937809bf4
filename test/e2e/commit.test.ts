import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { BUSYBOX_IMAGE } from '../../tools/busybox-image.ts';
import { type Containerd, RUNC, SQUIB, startContainerd } from './containerd.ts';

let containerd: Containerd;
before(async () => {
  containerd = await startContainerd();
});
after(() => containerd.close());

const WRITES = [
  'echo changed >> /etc/motd',
  'rm /bin/vi',
  'mkdir -p /srv/a/b && echo deep > /srv/a/b/file',
  'ln /etc/motd /srv/motd && ln -s ../etc/motd /srv/link && mkfifo /srv/pipe',
  'rm -r /opt && mkdir /opt && echo new > /opt/new',
  'chown 1000:2000 /srv/a && chmod 4750 /srv/a/b/file',
  'dd if=/dev/zero of=/srv/zeroes bs=1k count=3000 2>/dev/null',
].join(' && ');

/** The layer that `ctr snapshots diff` makes of a container's snapshot: a line for each entry. */
async function diffOf(id: string): Promise<string[]> {
  const { code, stdoutBytes, stderr } = await containerd.ctr(['snapshots', 'diff', id]);
  assert.equal(code, 0, stderr);
  const tar = stdoutBytes[0] === 0x1f ? gunzipSync(stdoutBytes) : stdoutBytes;
  const script = `
import hashlib, io, sys, tarfile
t = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()))
for m in t:
    data = hashlib.sha256(t.extractfile(m).read()).hexdigest() if m.isreg() else ''
    print(m.name, m.type, oct(m.mode), m.uid, m.gid, m.linkname, data)`;
  return execFileSync('python3', ['-c', script], { input: tar }).toString().trim().split('\n').sort();
}

/** runc's own doing: it makes mount points and files of the host in the root. */
const MADE_BY_RUNC = /^(dev|proc|sys|run|etc\/(hosts|hostname|resolv\.conf))(\/| )/;

test('a snapshot of a deleted container says what it wrote, as with runc', async () => {
  const diffs: string[][] = [];
  for (const [runtime, id] of [
    [RUNC, 'by-runc'],
    [SQUIB, 'by-squib'],
  ] as const) {
    const { code, stderr } = await containerd.ctr([
      'run',
      '--runtime',
      runtime,
      BUSYBOX_IMAGE,
      id,
      'sh',
      '-c',
      WRITES,
    ]);
    assert.deepEqual([code, stderr], [0, '']);
    diffs.push((await diffOf(id)).filter((line) => !MADE_BY_RUNC.test(line)));
  }
  const [runc, squib = []] = diffs;
  assert.deepEqual(squib, runc);
  assert.ok(
    squib.some((line) => line.startsWith('bin/.wh.vi ')),
    squib.join('\n'),
  );
});

test('what was committed is the root of the next container', async () => {
  const { code, stderr } = await containerd.ctr([
    'run',
    '--runtime',
    SQUIB,
    BUSYBOX_IMAGE,
    'base',
    'sh',
    '-c',
    WRITES,
  ]);
  assert.deepEqual([code, stderr], [0, '']);
  const read = ['cat', '/srv/a/b/file', '/opt/new', '/etc/motd'];
  for (const args of [
    ['snapshots', 'commit', 'derived', 'base'],
    ['containers', 'create', '--runtime', SQUIB, BUSYBOX_IMAGE, 'next', ...read],
    ['snapshots', 'rm', 'next'],
    ['snapshots', 'prepare', 'next', 'derived'],
  ]) {
    const done = await containerd.ctr(args);
    assert.equal(done.code, 0, `${args.join(' ')}: ${done.stderr}`);
  }
  const { stdout } = await containerd.ctr(['tasks', 'start', 'next']);
  assert.equal(stdout, 'deep\nnew\nfrom the second layer\nchanged\n');
});
