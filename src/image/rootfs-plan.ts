import { statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SquibError } from '../base/errors.ts';
import { chainKey, IMAGE_VERSION } from './chain-key.ts';
import type { ImagePlace } from './conversion.ts';
import { sharedImagePath } from './image-eviction.ts';
import type { RootfsSource } from './mounts.ts';

/** Beside a writable directory that is the whole root: what it held at the first start. */
const BASE_NAME = '.squib-base.ext4';
const SCRATCH_NAME = '.squib-scratch.ext4';

/** Directories become two images: what goes into them, and where they belong. */
export interface RootfsPlan {
  readonly layers: readonly string[];
  readonly directories: 'overlay' | 'plain';
  readonly namespace: 'trusted' | 'user';
  /** Of the layers: the read-only image's UUID. */
  readonly uuid: string;
  readonly imagePlaces: readonly ImagePlace[];
  readonly scratchPath: string;
  /** Its content goes into a new scratch. */
  readonly upperDir: string | undefined;
}

export interface PlanOptions {
  /** A directory of this container alone. */
  readonly workDir: string;
  /** For images whose layers' directory cannot be written. */
  readonly shared: NonNullable<ImagePlace['shared']>;
}

/**
 * Decides where the images lie. What belongs to a snapshot lies in its directory, which containerd
 * removes with it; what belongs to no snapshot lies in the container's own.
 * @throws SquibError `not-found` if the top-most layer is not there.
 */
export function planRootfs(
  source: Exclude<RootfsSource, { kind: 'image' }>,
  { workDir, shared }: PlanOptions,
): RootfsPlan {
  const layers = source.kind === 'overlay' ? source.lowerDirs : [source.dir];
  const uuid = keyOf(layers);
  const snapshot = snapshotOf(layers[0] as string);
  const privately = [{ path: join(workDir, 'rootfs.ext4') }];
  const privateScratch = join(workDir, 'scratch.ext4');
  const cached = snapshot === undefined ? privately : cachePlaces(snapshot, uuid, shared);
  if (source.kind === 'overlay') {
    const { upperDir, namespace } = source;
    const active = upperDir === undefined ? undefined : snapshotOf(upperDir);
    const scratchPath = active === undefined ? privateScratch : join(active, SCRATCH_NAME);
    return { layers, directories: 'overlay', namespace, uuid, imagePlaces: cached, scratchPath, upperDir };
  }
  const common = { layers, uuid, namespace: 'trusted', upperDir: undefined } as const;
  // A view of a snapshot without parents: it never changes.
  if (source.isReadOnly && snapshot !== undefined)
    return { ...common, directories: 'overlay', imagePlaces: cached, scratchPath: privateScratch };
  if (snapshot === undefined)
    return { ...common, directories: 'plain', imagePlaces: privately, scratchPath: privateScratch };
  // An active snapshot without parents. It may be committed later: its image is under another name then.
  const imagePlaces = [{ path: join(snapshot, BASE_NAME) }];
  return { ...common, directories: 'plain', imagePlaces, scratchPath: join(snapshot, SCRATCH_NAME) };
}

function cachePlaces(snapshot: string, uuid: string, shared: PlanOptions['shared']): ImagePlace[] {
  return [
    { path: join(snapshot, `.squib-${IMAGE_VERSION}.ext4`) },
    { path: sharedImagePath(shared.dir, uuid), shared },
  ];
}

function keyOf(layers: readonly string[]): string {
  try {
    return chainKey(layers);
  } catch (thrown) {
    throw (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? missingSource(layers[0] as string) : thrown;
  }
}

/** The snapshot's own directory, when the path is `<snapshotter root>/snapshots/<id>/fs`. */
function snapshotOf(layerDir: string): string | undefined {
  const snapshot = dirname(layerDir);
  return basename(layerDir) === 'fs' && basename(dirname(snapshot)) === 'snapshots' ? snapshot : undefined;
}

/** @throws SquibError `not-found` for the first path at which nothing is. */
export function requireSources(paths: readonly string[]): void {
  for (const path of paths) if (!statSync(path, { throwIfNoEntry: false })) throw missingSource(path);
}

function missingSource(path: string): SquibError {
  return new SquibError(
    'not-found',
    `rootfs source "${path}" does not exist: the snapshot is gone or was never unpacked`,
  );
}
