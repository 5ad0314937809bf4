import { access, mkdir, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SquibError } from '../base/errors.ts';
import { flattenDirectories, makeScratch } from './mke2fs.ts';
import { type RootfsMount, rootfsSource } from './mounts.ts';

/** Part of every cached image's name: a change of the image format makes old ones unfound. */
const IMAGE_VERSION = 1;

export interface RootfsRequest {
  /** What containerd put into Create. */
  readonly mounts: readonly RootfsMount[];
  /** Size of a fresh scratch file system; the file is sparse. */
  readonly scratchBytes: number;
  /** A directory of this container alone, for what has no better place; made when missing. */
  readonly workDir: string;
}

/** The block devices that are a container's root. */
export interface Rootfs {
  /** A read-only ext4 image; undefined: `upper` alone is the whole root. */
  readonly lower: string | undefined;
  /** A writable ext4 image. */
  readonly upper: string;
  /** Removes what was made for this container alone; what lives with the snapshot stays. */
  release(): Promise<void>;
}

/**
 * Turns containerd's rootfs mounts into block devices. The read-only image of an overlay lies
 * beside the top-most layer's directory, made once for all containers of that image; the scratch
 * lies beside the writable directory, so that both go when containerd removes the snapshot and a
 * container that starts again finds its data.
 */
export async function prepareRootfs(request: RootfsRequest): Promise<Rootfs> {
  const source = rootfsSource(request.mounts);
  await mkdir(request.workDir, { recursive: true, mode: 0o700 });
  switch (source.kind) {
    case 'image':
      return { lower: undefined, upper: await existing(source.path), release: async () => {} };
    case 'directory':
      return privateRootfs([source.dir], undefined, request);
    case 'overlay': {
      const { lowerDirs, upperDir } = source;
      const snapshots = snapshotOf(lowerDirs[0] as string);
      const active = upperDir === undefined ? undefined : snapshotOf(upperDir);
      if (!snapshots || !active) return privateRootfs(lowerDirs, upperDir, request);
      const [lower, upper] = await settleAll([
        cachedImage(lowerDirs, join(snapshots, `.squib-${IMAGE_VERSION}.ext4`)),
        scratch(join(active, '.squib-scratch.ext4'), request.scratchBytes, upperDir),
      ]);
      return { lower, upper, release: async () => {} };
    }
  }
}

/** The snapshot's own directory, when the path is `<snapshotter root>/snapshots/<id>/fs`. */
function snapshotOf(layerDir: string): string | undefined {
  const snapshot = dirname(layerDir);
  return basename(layerDir) === 'fs' && basename(dirname(snapshot)) === 'snapshots' ? snapshot : undefined;
}

async function privateRootfs(
  lowerDirs: readonly string[],
  upperDir: string | undefined,
  request: RootfsRequest,
): Promise<Rootfs> {
  const lowerPath = join(request.workDir, 'rootfs.ext4');
  const upperPath = join(request.workDir, 'scratch.ext4');
  const release = async () => {
    await rm(lowerPath, { force: true });
    await rm(upperPath, { force: true });
  };
  try {
    const [lower, upper] = await settleAll([
      cachedImage(lowerDirs, lowerPath),
      scratch(upperPath, request.scratchBytes, upperDir),
    ]);
    return { lower, upper, release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Both or the first failure, but never while one of them still runs. */
async function settleAll<A, B>(work: [Promise<A>, Promise<B>]): Promise<[A, B]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

async function cachedImage(lowerDirs: readonly string[], path: string): Promise<string> {
  if (await isThere(path)) return path;
  await Promise.all(lowerDirs.map(existing));
  await flattenDirectories(lowerDirs, path);
  return path;
}

async function scratch(path: string, bytes: number, upperDir: string | undefined): Promise<string> {
  if (await isThere(path)) return path;
  const content = upperDir !== undefined && (await readdir(upperDir)).length > 0 ? upperDir : undefined;
  await makeScratch(path, bytes, content);
  return path;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function existing(path: string): Promise<string> {
  if (await isThere(path)) return path;
  throw new SquibError(
    'not-found',
    `rootfs source "${path}" does not exist: the snapshot is gone or was never unpacked`,
  );
}
