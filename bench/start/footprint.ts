import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A process's memory in kB, from /proc/<pid>/smaps_rollup. */
export interface Footprint {
  readonly rss: number;
  readonly pss: number;
  /** Clean and dirty pages that nobody else maps. */
  readonly private: number;
}

export function footprint(pid: number): Footprint {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kb = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN);
  return { rss: kb('Rss'), pss: kb('Pss'), private: kb('Private_Clean') + kb('Private_Dirty') };
}

/** Bytes that a file occupies on disk; a sparse one less than its size. */
export const allocated = (path: string): number => statSync(path).blocks * 512;

/** The images that squib has put beside a snapshotter's directories. */
export function images(containerdRoot: string): string[] {
  const snapshots = join(containerdRoot, 'io.containerd.snapshotter.v1.overlayfs', 'snapshots');
  return readdirSync(snapshots)
    .flatMap((id) => readdirSync(join(snapshots, id)).map((name) => join(snapshots, id, name)))
    .filter((path) => /\/\.squib-\d+\.ext4$/.test(path));
}
