import { closeSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SquibError } from '../base/errors.ts';
import type { Inode } from './ext4/read/inode.ts';
import { walk } from './ext4/read/walk.ts';
import { Ext4Reader } from './ext4/reader.ts';
import { isEmpty, UPPER_IN_SCRATCH } from './upper/changes.ts';
import { HostCalls } from './upper/host-calls.ts';
import { Mirror, type MirrorStats } from './upper/mirror.ts';

export interface FillOptions {
  /** The scratch image; no VM may have it mounted, or its file system is frozen. */
  readonly scratch: string;
  /** The host's upper directory. */
  readonly upperDir: string;
  /** More data than this is not copied. */
  readonly bytesMax: number;
  /** How the host's overlay mount keeps its marks: `user` with the option userxattr. */
  readonly namespace?: 'trusted' | 'user';
  /** Also takes an image that was not unmounted: one of a frozen file system. */
  readonly isFrozen?: boolean;
}

/**
 * Makes the host's upper directory say what the container wrote, so that snapshotters and differs
 * that know nothing of the scratch image see it. The new content is built beside the directory
 * and changes places with it at the end: the directory holds the old or the new, never a part.
 * @returns what was written; undefined when there was nothing to do.
 * @throws SquibError `resource-exhausted` over bytesMax, `failed-precondition` for an image that
 *   was not unmounted in order, `data-loss` for one that is damaged; upperDir is as it was then.
 */
export async function fillUpper(options: FillOptions): Promise<MirrorStats | undefined> {
  using reader = Ext4Reader.open(options.scratch);
  const { upperDir, scratch } = options;
  if (!reader.geometry.isClean && !options.isFrozen)
    throw new SquibError(
      'failed-precondition',
      `"${scratch}" was not unmounted in order: its content may be incomplete`,
    );
  const start = reader.lookup(reader.root, UPPER_IN_SCRATCH);
  if (start === undefined || start.type !== 'directory') return undefined;
  if (isEmpty(reader, start) && readdirSync(upperDir).length === 0) return undefined;
  checkSize(reader, start, options);
  const staging = join(dirname(upperDir), `.squib-${basename(upperDir)}-new`);
  const calls = await HostCalls.load();
  rmSync(staging, { recursive: true, force: true });
  try {
    mkdirSync(staging, { mode: 0o700 });
    const stats = build(reader, start, calls, staging, options.namespace ?? 'trusted');
    calls.exchange(rawPath(staging), rawPath(upperDir));
    return stats;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Before anything is written: a walk over all names and extents. */
function checkSize(reader: Ext4Reader, start: Inode, { scratch, bytesMax }: FillOptions): void {
  let bytes = 0;
  for (const { kind, inode, linkTo } of walk(reader, start)) {
    if (kind === 'leave' || inode.type !== 'file' || linkTo !== undefined) continue;
    if (inode.isInline) bytes += inode.size;
    else for (const run of reader.runs(inode)) bytes += run.bytes;
    if (bytes > bytesMax)
      throw new SquibError(
        'resource-exhausted',
        `"${scratch}" holds more than ${bytesMax} bytes that the container wrote`,
      );
  }
}

function build(
  reader: Ext4Reader,
  start: Inode,
  calls: HostCalls,
  staging: string,
  namespace: 'trusted' | 'user',
): MirrorStats {
  const root = openSync(staging, 'r');
  const mirror = new Mirror(reader, calls, { root, opaque: `${namespace}.overlay.opaque` });
  try {
    for (const step of walk(reader, start)) mirror.take(step);
    return mirror.stats;
  } finally {
    mirror.close();
    closeSync(root);
  }
}

/** A path as text, as the raw bytes that system calls take, one character each. */
function rawPath(path: string): string {
  return Buffer.from(path, 'utf8').toString('latin1');
}
