/** What containerd's overlay snapshotter has on its disk, and the requests that come from it. */
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { RootfsMount } from '../../src/image/mounts.ts';
import type { RootfsRequest } from '../../src/image/rootfs.ts';
import { whiteout } from './directory/tree-on-host.ts';

export const CONVERTER = resolve(import.meta.dirname, '../../cmd/convert.ts');
export const SCRATCH_BYTES = 64 << 20;

/** What debugfs, a tool that is not ours, says about an image. */
export function debugfs(image: string, command: string): string {
  const args = ['-R', command, image];
  const output = execFileSync('debugfs', args, { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  // Of content inside an inode 1.47 shows all the room there is for it.
  return command.startsWith('cat ') ? output.replace(/\0+$/, '') : output;
}

/** Fails unless e2fsck finds nothing. */
export function fsck(image: string): void {
  execFileSync('e2fsck', ['-fn', image], { stdio: ['ignore', 'pipe', 'ignore'] });
}

/** A snapshotter's tree: layers 1 (bottom) and 2, active snapshot 3. */
export class Snapshots {
  readonly dir: string;
  readonly root: string;

  constructor(dir: string) {
    this.dir = dir;
    this.root = join(dir, 'snapshots');
    for (const path of ['1/fs/etc', '2/fs/etc', '3/fs', '3/work'])
      mkdirSync(join(this.root, path), { recursive: true });
    writeFileSync(join(this.root, '1/fs/etc/motd'), 'bottom\n');
    writeFileSync(join(this.root, '1/fs/etc/gone'), 'deleted above\n');
    writeFileSync(join(this.root, '1/fs/kept'), 'kept\n');
    linkSync(join(this.root, '1/fs/kept'), join(this.root, '1/fs/linked'));
    writeFileSync(join(this.root, '2/fs/etc/motd'), 'top\n');
    symlinkSync('motd', join(this.root, '2/fs/etc/link'));
    whiteout(join(this.root, '2/fs/etc/gone'));
  }

  /** Create's mounts for an active snapshot on layers 2 and 1. */
  mounts(active = '3'): RootfsMount[] {
    mkdirSync(join(this.root, active, 'fs'), { recursive: true });
    const options = [
      `lowerdir=${this.root}/2/fs:${this.root}/1/fs`,
      `upperdir=${this.root}/${active}/fs`,
      `workdir=${this.root}/${active}/work`,
    ];
    return [{ type: 'overlay', source: 'overlay', options }];
  }

  request(mounts: readonly RootfsMount[] = this.mounts()): RootfsRequest {
    const shared = { dir: join(this.dir, 'cache'), bytesMax: 2 ** 30 };
    const workDir = join(this.dir, 'work');
    return { mounts, scratchBytes: SCRATCH_BYTES, workDir, converter: CONVERTER, shared };
  }
}
