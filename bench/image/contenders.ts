import { execFileSync } from 'node:child_process';
import type { Tree } from './trees.ts';

/** One way to make something of a tree. */
export interface Contender {
  readonly name: string;
  /** A shell command line that writes `out`. */
  command(tree: Tree, out: string): string;
  /** The program it needs. */
  readonly needs?: string;
}

const quoted = (path: string) => `'${path}'`;

/** mke2fs wants to know the size beforehand: files, inodes of 256 bytes, a tenth, and room for groups. */
function mke2fsSize(tree: Tree): { kib: number; inodes: number } {
  const used = Number(execFileSync('du', ['-sk', tree.dir]).toString().split('\t')[0]);
  const inodes = tree.entries + 1000;
  return { kib: Math.ceil(used * 1.1 + inodes / 4 + 65_536), inodes };
}

/** @param squib how `squib image convert` is started. */
export function contenders(squib: string): readonly Contender[] {
  const ours = (name: string, from: (tree: Tree) => string): Contender => ({
    name: `squib, ${name}`,
    command: (tree, out) => `${squib} image convert --no-sync ${quoted(from(tree))} ${quoted(out)}`,
  });
  return [
    ours('tar', (tree) => tree.tar),
    { name: 'cat of the tar', command: (tree, out) => `cat ${quoted(tree.tar)} > ${quoted(out)}` },
    ours('directory', (tree) => tree.dir),
    {
      name: 'tar of the directory',
      command: (tree, out) => `tar -C ${quoted(tree.dir)} -cf ${quoted(out)} .`,
    },
    {
      name: 'mkfs.erofs',
      needs: 'mkfs.erofs',
      command: (tree, out) => `mkfs.erofs --quiet ${quoted(out)} ${quoted(tree.dir)}`,
    },
    {
      name: 'mksquashfs, uncompressed',
      needs: 'mksquashfs',
      command: (tree, out) =>
        `mksquashfs ${quoted(tree.dir)} ${quoted(out)} -noI -noD -noF -noX -quiet -no-progress`,
    },
    {
      name: 'mke2fs -d, no journal',
      needs: 'mke2fs',
      command: (tree, out) => {
        const { kib, inodes } = mke2fsSize(tree);
        const features = '^has_journal,^metadata_csum,^resize_inode';
        return `mke2fs -q -t ext4 -O ${features} -m 0 -N ${inodes} -d ${quoted(tree.dir)} ${quoted(out)} ${kib}k`;
      },
    },
    ours('tar.gz', (tree) => tree.gzip),
    { name: 'gzip -d', command: (tree, out) => `gzip -dc ${quoted(tree.gzip)} > ${quoted(out)}` },
    ours('tar.zst', (tree) => tree.zstd),
    {
      name: 'zstd -d',
      needs: 'zstd',
      command: (tree, out) => `zstd -q -dc ${quoted(tree.zstd)} > ${quoted(out)}`,
    },
  ];
}

/** @returns whether a shell finds the program. */
export function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
