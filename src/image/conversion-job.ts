import { closeSync, readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SquibError } from '../base/errors.ts';
import type { ConversionJob, ImagePlace } from './conversion.ts';
import { type FlattenRequest, flattenDirectories } from './directory/flatten.ts';
import { pathFromText } from './directory/host-path.ts';
import { Libc } from './directory/libc.ts';
import { diskError } from './disk-error.ts';
import { createExt4Image, type ImageBuilder } from './ext4/image.ts';
import { evictImages, noteLayer } from './image-eviction.ts';
import { openImage } from './image-file.ts';
import { withDirectoryLock } from './image-lock.ts';
import { makeScratch } from './scratch-file.ts';
import { fillUpper } from './upper.ts';

type ImageJob = Extract<ConversionJob, { kind: 'image' }>;
type ScratchJob = Extract<ConversionJob, { kind: 'scratch' }>;

/** What says that a place cannot be written at all, rather than that the conversion failed. */
const UNWRITABLE = ['EROFS', 'EACCES', 'EPERM'];

/**
 * Does one conversion, in the process that was started for it: it blocks.
 * @returns where the result lies, complete and on disk.
 * @throws SquibError; nothing of it is left then.
 */
export async function runJob(job: ConversionJob): Promise<string> {
  if (job.kind === 'commit') {
    await fillUpper(job);
    return job.upperDir;
  }
  const libc = await Libc.load();
  return job.kind === 'image' ? imageAtSomePlace(job, libc) : scratchWithContent(job, libc);
}

function imageAtSomePlace(job: ImageJob, libc: Libc): string {
  let refusal: unknown;
  for (const place of job.places) {
    try {
      return imageAt(place, job, libc);
    } catch (thrown) {
      if (!UNWRITABLE.includes((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown;
      refusal = thrown;
    }
  }
  const paths = job.places.map((place) => place.path).join(', ');
  throw new SquibError('permission-denied', `no place for the image can be written: ${paths}`, {
    cause: refusal,
  });
}

/** Of all processes that want an image at once, one builds it while the others wait for it. */
function imageAt(place: ImagePlace, job: ImageJob, libc: Libc): string {
  const dir = dirname(place.path);
  withDirectoryLock(dir, libc, place.shared !== undefined, () => {
    const made = openImage(place.path, job.uuid);
    if (made !== undefined) {
      closeSync(made);
      return;
    }
    buildImage(place.path, job, libc);
    if (place.shared) noteLayer(dir, job.layers[0] as string);
    else if (job.directories === 'overlay') removeSuperseded(place.path);
  });
  const { shared } = place;
  if (shared)
    withDirectoryLock(shared.dir, libc, false, () => evictImages(shared.dir, shared.bytesMax, libc));
  return place.path;
}

function buildImage(path: string, job: ImageJob, libc: Libc): void {
  let builder: ImageBuilder | undefined;
  try {
    builder = createExt4Image(path, { uuid: Buffer.from(job.uuid, 'hex') });
    const request: FlattenRequest = {
      kind: job.directories,
      layers: job.layers.map(pathFromText),
      namespace: job.namespace,
    };
    flattenDirectories(builder, builder.tree.root, request, libc);
    builder.finish();
  } catch (thrown) {
    builder?.abort();
    throw diskError(path, thrown);
  }
}

/**
 * Beside a committed layer only its newest image is of use: not that of an earlier version of squib,
 * and not the scratch of the container that the layer was committed from. Who has one open keeps it.
 */
function removeSuperseded(path: string): void {
  const own = basename(path);
  for (const name of readdirSync(dirname(path))) {
    if (/^\.squib-.*\.ext4$/.test(name) && name !== own) rmSync(join(dirname(path), name), { force: true });
  }
}

function scratchWithContent({ path, bytes, upperDir, namespace }: ScratchJob, libc: Libc): string {
  const request: FlattenRequest = { kind: 'upper', layers: [pathFromText(upperDir)], namespace };
  makeScratch(path, bytes, (sink, target) => flattenDirectories(sink, target, request, libc));
  return path;
}
