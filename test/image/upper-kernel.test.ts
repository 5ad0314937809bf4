import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createScratch } from '../../src/image/ext4/scratch.ts';
import { fillUpper } from '../../src/image/upper.ts';

/** Loop mounts are the judges' business only, and in a mount namespace that ends with the command. */
const canMount =
  existsSync('/dev/loop-control') &&
  spawnSync('unshare', ['-m', '--propagation', 'private', 'true']).status === 0;

/** What a container does to its root; the same on both overlays. */
const WRITES = `
set -eu
echo changed >> etc/passwd
rm etc/shadow
rm -r opt/old
mkdir opt/old
echo new > opt/old/new
rm -r usr/share
mkdir -p srv/a/b/c
ln etc/passwd srv/passwd
ln -s ../../etc/passwd srv/link
ln -s "$(printf 'x%.0s' $(seq 1 200))" srv/long
mkfifo srv/pipe
truncate -s 20M srv/sparse
printf tail >> srv/sparse
seq 1 400000 > srv/big
i=0; while [ $i -lt 900 ]; do : > srv/a/f$i; i=$((i+1)); done
i=0; while [ $i -lt 850 ]; do rm srv/a/f$i; i=$((i+1)); done
chown 1000:100000 srv/a
chmod 4755 srv/big
mv etc/group etc/group.moved
python3 -c "
import os
os.setxattr('srv/big', 'user.k', b'v' * 200)
os.setxattr('srv/a', 'trusted.k', b'v')
os.utime('srv/link', ns=(0, 1234567890123456789), follow_symlinks=False)
os.utime('srv/a/b', ns=(0, -1), follow_symlinks=False)
"
`;

/** All that lstat, readlink, listxattr and a hash say about a tree, a line each; times where they were set. */
const DESCRIBE = `
import hashlib, os, stat, sys
top = sys.argv[1]
links = {}
def show(path):
    s = os.lstat(path)
    rel = os.path.relpath(path, top)
    what = [rel, oct(s.st_mode), s.st_uid, s.st_gid, s.st_rdev if stat.S_ISCHR(s.st_mode) else 0]
    if stat.S_ISLNK(s.st_mode): what.append(os.readlink(path))
    if stat.S_ISREG(s.st_mode):
        what += [s.st_size, hashlib.sha256(open(path, 'rb').read()).hexdigest()]
        if s.st_nlink > 1: what.append('same as ' + links.setdefault(s.st_ino, rel))
    if rel in ('srv/link', 'srv/a/b'): what.append(s.st_mtime_ns)
    names = sorted(n for n in os.listxattr(path, follow_symlinks=False) if n == 'trusted.overlay.opaque' or 'overlay' not in n)
    what += [(n, os.getxattr(path, n, follow_symlinks=False)) for n in names]
    if not (stat.S_ISCHR(s.st_mode) and s.st_rdev == 0): print(*what)
    else: print(rel, 'whiteout')
show(top)
for base, dirs, files in os.walk(top):
    dirs.sort()
    for name in sorted(dirs + files): show(os.path.join(base, name))
`;

let dir: string;

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-kernel-'));
});
after(() => rmSync(dir, { recursive: true }));

const inNamespace = (script: string, ...args: string[]) =>
  execFileSync('unshare', ['-m', '--propagation', 'private', 'sh', '-euc', script, 'sh', ...args], {
    cwd: dir,
    timeout: 60_000,
  }).toString();
const described = (path: string) =>
  execFileSync('python3', ['-c', DESCRIBE, path], { maxBuffer: 1 << 26 }).toString();

test("what the kernel's overlayfs wrote to a scratch is what it writes to a directory", {
  skip: !canMount && 'no loop devices or mount namespaces here',
}, async () => {
  for (const sub of [
    'lower/etc',
    'lower/opt/old',
    'lower/usr/share/doc',
    'host/fs',
    'host/work',
    'snapshot/fs',
  ])
    mkdirSync(join(dir, sub), { recursive: true });
  for (const file of ['etc/passwd', 'etc/shadow', 'etc/group', 'opt/old/file', 'usr/share/doc/file'])
    writeFileSync(join(dir, 'lower', file), `${file}\n`);
  const scratch = join(dir, 'scratch.ext4');
  createScratch(scratch, 256 << 20);
  writeFileSync(join(dir, 'writes.sh'), WRITES);
  const overlay = 'index=off,metacopy=off,redirect_dir=off,xino=off';
  inNamespace(
    `mkdir m r; mount -o loop scratch.ext4 m; mkdir -p m/upper m/work
       mount -t overlay -o lowerdir=lower,upperdir=m/upper,workdir=m/work,${overlay} overlay r
       (cd r; sh ../writes.sh); umount r; umount m
       mount -t overlay -o lowerdir=lower,upperdir=host/fs,workdir=host/work,${overlay} overlay r
       (cd r; sh ../writes.sh)`,
  );
  execFileSync('e2fsck', ['-fn', scratch], { stdio: 'pipe' });
  const upperDir = join(dir, 'snapshot/fs');
  const stats = await fillUpper({ scratch, upperDir, bytesMax: 64 << 20 });
  assert.ok(stats && stats.whiteouts >= 3);
  const [ours, kernels] = [described(upperDir), described(join(dir, 'host/fs'))];
  assert.equal(ours, kernels);
  assert.match(ours as string, /^etc\/shadow whiteout$/m);
  assert.match(ours as string, /^opt\/old 0o40755 .*trusted\.overlay\.opaque/m);
});

test('a disk that gets full half way leaves the directory as it was', {
  skip: !canMount && 'no mount namespaces here',
}, () => {
  const scratch = join(dir, 'large.ext4');
  mkdirSync(join(dir, 'content/upper'), { recursive: true });
  for (let i = 0; i < 8; i++) writeFileSync(join(dir, `content/upper/${i}`), Buffer.alloc(300_000, i));
  execFileSync(
    'mke2fs',
    ['-q', '-F', '-t', 'ext4', '-O', '^has_journal', '-d', join(dir, 'content'), scratch, '16M'],
    {
      stdio: 'pipe',
    },
  );
  const program = fileURLToPath(new URL('../../cmd/squib.ts', import.meta.url));
  const script = `mkdir t; mount -t tmpfs -o size=1m tmpfs t; mkdir t/fs; echo old > t/fs/kept
      code=0; "$1" "$2" image commit large.ext4 t/fs --json 2>error || code=$?
      echo $code; cat t/fs/kept; ls -A t; cat error`;
  const [code, kept, left, error = ''] = inNamespace(script, process.execPath, program).trim().split('\n');
  assert.deepEqual([code, kept, left], ['1', 'old', 'fs']);
  const { code: name, message } = JSON.parse(error).error;
  assert.equal(name, 'resource-exhausted');
  assert.match(message, /^"\/\d" cannot be written to the upper directory: ENOSPC/);
});
