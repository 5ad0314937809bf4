/** Directories with everything that layers have: device nodes, owners, times and attributes. Needs root. */
import { linkSync, lutimesSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const mknodNative = libc.func('int mknod(const char *, uint32_t, uint64_t)');
const setxattrNative = libc.func('int lsetxattr(const char *, const char *, void *, size_t, int)');
const EEXIST = 17;

/** Why these trees cannot be made here, or undefined. */
export function missing(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'needs root: device nodes and trusted attributes';
}

/** @param mode with its S_IFMT bits. */
export function mknod(path: string, mode: number, device = { major: 0, minor: 0 }): void {
  const { major, minor } = device;
  const number = (BigInt(minor >> 8) << 20n) | (BigInt(major) << 8n) | BigInt(minor & 0xff);
  if (mknodNative(path, mode, number) === 0) return;
  const errno = koffi.errno();
  throw Object.assign(new Error(`mknod ${path}: errno ${errno}`), { code: errno === EEXIST ? 'EEXIST' : '' });
}

export function setXattr(path: string, name: string, value: Uint8Array | string): void {
  const bytes = Buffer.from(value as string);
  if (setxattrNative(path, name, bytes, bytes.length, 0) !== 0)
    throw new Error(`lsetxattr ${path} ${name}: errno ${koffi.errno()}`);
}

export const whiteout = (path: string): void => mknod(path, 0o020000);
export const opaque = (path: string): void => setXattr(path, 'trusted.overlay.opaque', 'y');

/** One entry of a layer, as tests write it down. */
export type Entry =
  | { readonly kind: 'file'; readonly content: string }
  | { readonly kind: 'directory' | 'opaque' | 'fifo' | 'whiteout' }
  | { readonly kind: 'symlink' | 'link'; readonly to: string };

/** What an entry that contradicts an earlier one, or links to nothing, fails with. */
const CONTRADICTIONS = ['EEXIST', 'ENOTDIR', 'ENOENT', 'EPERM', 'EISDIR', 'ELOOP'];

/** Makes a layer. An entry that contradicts an earlier one is left out. */
export function makeLayer(root: string, entries: readonly (readonly [path: string, entry: Entry])[]): void {
  mkdirSync(root, { recursive: true });
  entries.forEach(([path, entry], i) => {
    try {
      const at = join(root, path);
      mkdirSync(dirname(at), { recursive: true });
      makeEntry(root, at, entry);
      lutimesSync(at, 0, 1_000_000_000 + i);
    } catch (thrown) {
      if (!CONTRADICTIONS.includes((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown;
    }
  });
}

function makeEntry(root: string, at: string, entry: Entry): void {
  switch (entry.kind) {
    case 'file':
      writeFileSync(at, entry.content, { flag: 'wx' });
      break;
    case 'directory':
      mkdirSync(at);
      break;
    case 'opaque':
      mkdirSync(at, { recursive: true });
      opaque(at);
      break;
    case 'symlink':
      symlinkSync(entry.to, at);
      break;
    case 'link':
      linkSync(join(root, entry.to), at);
      break;
    case 'fifo':
      mknod(at, 0o010644);
      break;
    case 'whiteout':
      whiteout(at);
      break;
  }
}
