import { closeSync, futimesSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { SquibError } from '../base/errors.ts';
import { convert, type ImagePlace, loadConverter } from './conversion.ts';
import { openImage } from './image-file.ts';
import { type RootfsMount, rootfsSource } from './mounts.ts';
import { planRootfs, type RootfsPlan, requireSources } from './rootfs-plan.ts';

/** Images of layers whose directory cannot be written. What VMs use is never removed for the bound. */
const SHARED_IMAGES = { dir: '/var/lib/squib/cache', bytesMax: 20 * 2 ** 30 };

export interface RootfsRequest {
  /** What containerd put into Create. */
  readonly mounts: readonly RootfsMount[];
  /** Size of a fresh scratch file system; the file is sparse. */
  readonly scratchBytes: number;
  /** A directory of this container alone, for what has no better place; made when missing. */
  readonly workDir: string;
  /** The program that makes images, run by this process's Node: cmd/convert.ts or its bundle. */
  readonly converter: string;
  readonly shared?: NonNullable<ImagePlace['shared']>;
}

/** The block devices that are a container's root. */
export interface Rootfs {
  /** A read-only ext4 image; undefined: `upper` alone is the whole root. */
  readonly lower: string | undefined;
  /** A writable ext4 image. */
  readonly upper: string;
  /**
   * Makes the host's upper directory say what the container wrote, once no VM has `upper` any more;
   * nothing to do where there is no such directory. @throws SquibError as `fillUpper`.
   */
  commit(bytesMax: number): Promise<void>;
  /** Removes what was made for this container alone; what lives with the snapshot stays. */
  release(): Promise<void>;
}

/**
 * Turns containerd's rootfs mounts into block devices. The read-only image of an overlay lies
 * beside the top-most layer's directory, made once for all containers of that image; the scratch
 * lies beside the writable directory, so that both go when containerd removes the snapshot and a
 * container that starts again finds its data. Where both are there already no process is started.
 */
export async function prepareRootfs(request: RootfsRequest): Promise<Rootfs> {
  const source = rootfsSource(request.mounts);
  if (source.kind === 'image') {
    requireSources([source.path]);
    return { lower: undefined, upper: source.path, commit: async () => {}, release: async () => {} };
  }
  const { workDir, shared = SHARED_IMAGES } = request;
  const plan = planRootfs(source, { workDir, shared });
  mkdirSync(workDir, { recursive: true, mode: 0o700 });
  // Both or the first failure, but never while one of them still runs.
  const work = [readyImage(plan, request.converter), readyScratch(plan, request)] as const;
  const [image] = await Promise.allSettled(work);
  const release = () => {
    if (image.status === 'fulfilled') image.value.release();
    const paths = [...plan.imagePlaces.map((place) => place.path), plan.scratchPath];
    for (const path of paths) if (dirname(path) === workDir) rmSync(path, { force: true });
  };
  try {
    const [{ path: lower }] = await Promise.all(work);
    return {
      lower,
      upper: plan.scratchPath,
      commit: (bytesMax) => commitWrites(plan, request.converter, bytesMax),
      release: async () => release(),
    };
  } catch (thrown) {
    release();
    throw thrown;
  }
}

interface ReadyImage {
  readonly path: string;
  release(): void;
}

async function readyImage(plan: RootfsPlan, converter: string): Promise<ReadyImage> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const ready = findImage(plan);
    if (ready) return ready;
    requireSources(plan.layers);
    const { layers, directories, namespace, uuid, imagePlaces: places } = plan;
    await convert(converter, { kind: 'image', layers, directories, namespace, uuid, places });
  }
  const paths = plan.imagePlaces.map((place) => place.path).join(', ');
  throw new SquibError('aborted', `the image was made and is not there (${paths}): somebody removes it`);
}

/** A conversion that succeeded is found at once, unless somebody deleted it in that moment. */
const ATTEMPTS_MAX = 3;

function findImage({ imagePlaces, uuid }: RootfsPlan): ReadyImage | undefined {
  for (const { path, shared } of imagePlaces) {
    const fd = openImage(path, uuid);
    if (fd === undefined) continue;
    if (!shared) {
      closeSync(fd);
      return { path, release: () => {} };
    }
    // Open, it is not evicted; its time says when it was last of use.
    const now = Date.now() / 1000;
    futimesSync(fd, now, now);
    return { path, release: () => closeSync(fd) };
  }
  return undefined;
}

async function readyScratch(plan: RootfsPlan, request: RootfsRequest): Promise<void> {
  const { scratchPath: path, upperDir, namespace } = plan;
  if (statSync(path, { throwIfNoEntry: false })) return;
  const bytes = request.scratchBytes;
  if (upperDir !== undefined) {
    requireSources([upperDir]);
    if (readdirSync(upperDir).length > 0) {
      await convert(request.converter, { kind: 'scratch', path, bytes, upperDir, namespace });
      return;
    }
  }
  // An empty one takes milliseconds: no process is worth it.
  const { makeScratch } = await loadConverter(request.converter);
  makeScratch(path, bytes);
}

/** A container that wrote nothing costs a look. */
async function commitWrites(plan: RootfsPlan, converter: string, bytesMax: number): Promise<void> {
  const { scratchPath: scratch, upperDir, namespace } = plan;
  if (upperDir === undefined) return;
  const { mayHaveChanges } = await loadConverter(converter);
  if (!mayHaveChanges(scratch, upperDir)) return;
  await convert(converter, { kind: 'commit', scratch, upperDir, namespace, bytesMax });
}
