import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { convertTar } from '../../../src/image/tar/convert.ts';

/** Archives of a real tree by other tools; the images judged by e2fsck and by the kernel that mounts them. */

const dir = mkdtempSync(join(tmpdir(), 'squib-tar-real-'));
after(() => rmSync(dir, { recursive: true }));
const source = join(dir, 'source');

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString('latin1');

function has(command: string): boolean {
  try {
    run('sh', '-c', `command -v ${command}`);
    return true;
  } catch {
    return false;
  }
}

/** What this test cannot do without: root, loop devices, attributes. */
function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, to make device nodes and to mount';
  for (const tool of ['e2fsck', 'mkfs.ext4', 'setfattr', 'getfattr', 'setfacl', 'tar']) {
    if (!has(tool)) return `needs ${tool}`;
  }
  const probe = join(dir, 'probe');
  mkdirSync(probe);
  try {
    run('mkfs.ext4', '-q', join(dir, 'probe.ext4'), '1m');
    run('mount', '-o', 'ro,loop', join(dir, 'probe.ext4'), probe);
    run('umount', probe);
    run('setfattr', '-n', 'user.probe', '-v', '1', probe);
  } catch (error) {
    return `cannot mount an image or set attributes here: ${(error as Error).message.split('\n')[0]}`;
  }
  return undefined;
}

function makeTree(): void {
  const at = (name: string) => join(source, name);
  for (const name of ['', 'dir', 'dir/sub', 'empty', `long-${'d'.repeat(80)}`]) mkdirSync(at(name));
  writeFileSync(at('empty-file'), '');
  writeFileSync(at('small'), 'small');
  writeFileSync(at('dir/inline-limit'), Buffer.alloc(896, 'i'));
  writeFileSync(at('dir/block'), Buffer.alloc(4096, 'b'));
  writeFileSync(at('dir/sub/large'), Buffer.alloc(3_000_001, 'large file '));
  writeFileSync(at(`long-${'d'.repeat(80)}/${'f'.repeat(60)}`), 'a path of more than 100 bytes');
  linkSync(at('small'), at('dir/hard'));
  symlinkSync('../small', at('dir/soft'));
  symlinkSync(`/${'t'.repeat(90)}`, at('dangling'));
  linkSync(at('dangling'), at('hard-to-soft'));
  run('mknod', at('char'), 'c', '5', '70000');
  run('mknod', at('block'), 'b', '8', '1');
  run('mkfifo', at('fifo'));
  chownSync(at('dir/block'), 70_000, 100_000);
  for (const [name, mode] of [
    ['small', 0o4750],
    ['empty', 0o1777],
    ['dir', 0o2751],
  ] as const)
    chmodSync(at(name), mode);
  truncateSync(at('empty-file'), 0);
  writeFileSync(at('sparse'), 'head');
  truncateSync(at('sparse'), 5_000_000);
  run('sh', '-c', `printf middle | dd of='${at('sparse')}' bs=1 seek=2000000 conv=notrunc status=none`);
  for (const [name, seconds] of [
    ['small', 1.5],
    ['dangling', 86_400.25],
    ['dir/block', 4_102_444_800],
  ] as const)
    lutimesSync(at(name), seconds, seconds);
}

function addAttributes(): void {
  const at = (name: string) => join(source, name);
  run('setfattr', '-n', 'user.text', '-v', 'value', at('small'));
  run('setfattr', '-n', 'user.bytes', '-v', '0x000aff3d0a00', at('dir'));
  run('setfattr', '-n', 'trusted.large', '-v', `0x${'ab'.repeat(2000)}`, at('dir/block'));
  run(
    'setfattr',
    '-n',
    'security.capability',
    '-v',
    '0x0100000200200000000000000000000000000000',
    at('dir/sub/large'),
  );
  run('setfacl', '-m', 'u:1000:r,g:4:rx', at('dir/block'));
  run('setfacl', '-d', '-m', 'u:1000:rwx', at('dir/sub'));
}

interface Form {
  readonly name: string;
  readonly command: readonly string[];
  readonly nanos: boolean;
  readonly xattrs: boolean;
  readonly sparse: boolean;
}

const gnu = (name: string, ...options: string[]): Form => ({
  name: `GNU tar ${name}`,
  command: ['tar', ...options, '-C', source, '-cf'],
  nanos: name.startsWith('pax'),
  xattrs: name.includes('xattrs'),
  sparse: name.includes('sparse'),
});

const XATTRS = ['--xattrs', '--xattrs-include=*'];
/** Those without attributes first: an ACL shows in the mode. */
const FORMS: readonly Form[] = [
  gnu('gnu', '--format=gnu'),
  gnu('gnu sparse', '--format=gnu', '-S'),
  gnu('oldgnu', '--format=oldgnu'),
  gnu('pax', '--format=pax'),
  gnu('pax sparse 0.0', '--format=pax', '-S', '--sparse-version=0.0'),
  gnu('pax sparse 0.1', '--format=pax', '-S', '--sparse-version=0.1'),
  gnu('pax sparse 1.0', '--format=pax', '-S', '--sparse-version=1.0'),
  {
    name: 'bsdtar gnutar',
    command: ['bsdtar', '--format=gnutar', '-C', source, '-cf'],
    nanos: false,
    xattrs: false,
    sparse: false,
  },
  gnu('pax xattrs', '--format=pax', ...XATTRS),
  gnu('pax xattrs acls sparse', '--format=pax', ...XATTRS, '--acls', '--numeric-owner', '-S'),
  {
    name: 'bsdtar pax',
    command: ['bsdtar', '--format=pax', '-C', source, '-cf'],
    nanos: true,
    xattrs: true,
    sparse: true,
  },
];

/** Everything that a tree consists of, a line per path. */
function manifest(top: string, form: Form): string[] {
  const lines: string[] = [];
  const inodes = new Map<bigint, string>();
  const visit = (path: string): void => {
    const s = lstatSync(join(top, path), { bigint: true });
    const seconds = form.nanos ? String(s.mtimeNs) : String(s.mtimeNs / 1_000_000_000n);
    const first = inodes.get(s.ino) ?? path;
    inodes.set(s.ino, first);
    const content = s.isFile()
      ? createHash('sha256')
          .update(readFileSync(join(top, path)))
          .digest('hex')
          .slice(0, 16)
      : s.isSymbolicLink()
        ? readlinkSync(join(top, path))
        : '';
    const size = s.isDirectory() ? '' : s.size;
    const links = s.isDirectory() ? '' : s.nlink;
    lines.push(
      `${path} ${s.mode.toString(8)} ${s.uid}:${s.gid} ${size} ${seconds} ${s.rdev} ${links} ${first} ${content}`,
    );
    if (s.isDirectory()) for (const name of readdirSync(join(top, path)).sort()) visit(`${path}/${name}`);
  };
  visit('.');
  if (!form.xattrs) return lines;
  // A path's attributes as one block; the order of the paths is the walk's.
  const attributes = run('sh', '-c', `cd '${top}' && getfattr -Rhd -m- -e hex .`).split('\n\n').sort();
  return [...lines, ...attributes];
}

test('a real tree through every archive format', async (t) => {
  const reason = missing();
  if (reason !== undefined) {
    t.skip(reason);
    return;
  }
  makeTree();
  const mounted = join(dir, 'mounted');
  mkdirSync(mounted);
  for (const form of FORMS) {
    await t.test(form.name, async (t) => {
      if (!has(form.command[0] as string)) {
        t.skip(`needs ${form.command[0]}`);
        return;
      }
      if (form.xattrs) addAttributes();
      const tar = join(dir, 'tree.tar');
      const image = join(dir, 'tree.ext4');
      const [command = '', ...args] = form.command;
      run(command, ...args, tar, '.');
      await convertTar([{ path: tar }], image, { sync: false });
      run('e2fsck', '-fn', image);
      run('mount', '-o', 'ro,loop', image, mounted);
      try {
        assert.deepEqual(manifest(mounted, form), manifest(source, form));
        if (form.sparse) assert.ok(lstatSync(join(mounted, 'sparse')).blocks * 512 < 100_000, 'kept sparse');
      } finally {
        run('umount', mounted);
      }
    });
  }
});
