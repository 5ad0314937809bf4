import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Python is the only tool on every test host that sets attributes and nanosecond times. */
const ATTRIBUTES = `
import os, struct, sys
d = sys.argv[1]
os.setxattr(d + '/etc/motd', 'user.note', b'v\\0\\xff')
os.setxattr(d + '/opaque', 'trusted.overlay.opaque', b'y')
os.setxattr(d + '/opaque', 'trusted.overlay.impure', b'y')
acl = struct.pack('<IHHIHHIHHIHHIHHI', 2, 1, 6, 2**32-1, 2, 4, 70000, 4, 4, 2**32-1, 16, 4, 2**32-1, 32, 0, 2**32-1)
os.setxattr(d + '/etc/motd', 'system.posix_acl_access', acl)
os.utime(d + '/etc/motd', ns=(0, 1700000000123456789))
os.utime(d + '/old', ns=(0, -5000000000))
`;

/** Makes a tree with one of everything below `dir`; needs root. */
export function makeSampleTree(dir: string): void {
  mkdirSync(join(dir, 'etc/deep/er'), { recursive: true });
  mkdirSync(join(dir, 'opaque'));
  mkdirSync(join(dir, 'many'));
  writeFileSync(join(dir, 'etc/motd'), 'hello\n');
  linkSync(join(dir, 'etc/motd'), join(dir, 'etc/linked'));
  writeFileSync(join(dir, 'old'), '');
  writeFileSync(join(dir, 'opaque/new'), 'above an opaque directory\n');
  writeFileSync(
    Buffer.concat([Buffer.from(join(dir, 'etc/raw-')), Buffer.from([0xff, 0x0a, 0xc3])]),
    'raw name\n',
  );
  symlinkSync('../etc/motd', join(dir, 'opaque/link'));
  symlinkSync('x'.repeat(300), join(dir, 'long-link'));
  writeFileSync(join(dir, 'big'), pattern(3_000_000));
  writeFileSync(join(dir, 'sparse'), 'head');
  truncateSync(join(dir, 'sparse'), 64 << 20);
  for (let i = 0; i < 700; i++) writeFileSync(join(dir, 'many', `file-with-a-longer-name-${i}`), `${i}`);
  for (const args of [
    ['gone', 'c', '0', '0'],
    ['etc/deep/gone-too', 'c', '0', '0'],
    ['pipe', 'p'],
  ])
    execFileSync('mknod', [join(dir, args[0] as string), ...args.slice(1)]);
  execFileSync('python3', ['-c', ATTRIBUTES, dir]);
}

/** Bytes that differ from block to block. */
export function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 12) * 7) & 0xff;
  return bytes;
}

/** An image of a directory by e2fsprogs, a maker that is not ours. */
export function mke2fs(dir: string, image: string, ...options: string[]): void {
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', ...options, '-d', dir, image, '96M'], { stdio: 'pipe' });
}
