import { SquibError } from '../../base/errors.ts';
import { createExt4Image, type ImageBuilder, type ImageStats } from '../ext4/image.ts';
import { TarBudget } from './budget.ts';
import { LayerSink } from './layer.ts';
import type { TarLimits } from './limits.ts';
import { TarScanner } from './scanner.ts';
import { scanSource, type TarSource } from './source.ts';

export interface TarProgress {
  /** Which of the sources, from 0. */
  readonly layer: number;
  /** Of all sources so far, decompressed. */
  readonly bytes: number;
  readonly entries: number;
}

export interface TarConversion {
  /** Identifies the image, 16 bytes, best from the layers' digests; the same for every image by default. */
  readonly uuid?: Uint8Array;
  /** Small files in their inodes; default: on. */
  readonly inlineData?: boolean;
  /** Whether to wait until the disk has the image; default: yes. */
  readonly sync?: boolean;
  readonly limits?: Partial<TarLimits>;
  /** Called after about every megabyte, in the middle of the work. */
  readonly progress?: (progress: TarProgress) => void;
}

export interface ConvertedTar extends ImageStats {
  /** Bytes of tar, decompressed. */
  readonly tarBytes: number;
  readonly entries: number;
}

/** The name-based uuid of an image of which no digest is known: the text "squib image tar", and 1. */
const UUID_WITHOUT_DIGEST = Uint8Array.from(Buffer.from('squib image tar\x01', 'latin1'));

/**
 * Makes the ext4 image at `path` of tar archives, the lowest layer first. The same archives give
 * the same bytes. Blocks the thread most of the time: for a worker or a process of its own.
 * @throws SquibError whose message names source, entry, offset and reason; there is no file at
 *   `path` then that was not there before. What it means by its codes: docs/protocol/tar.md.
 */
export async function convertTar(
  layers: readonly TarSource[],
  path: string,
  options: TarConversion = {},
): Promise<ConvertedTar> {
  const { uuid = UUID_WITHOUT_DIGEST, inlineData = true, sync = true } = options;
  const budget = new TarBudget(options.limits);
  const image = writing(path, () => createExt4Image(path, { uuid, inlineData, sync }));
  try {
    for (const [layer, source] of layers.entries()) {
      const report = () => options.progress?.({ layer, bytes: budget.streamBytes, entries: budget.entries });
      await applyLayer(image, source, budget, report);
    }
    const stats = writing(path, () => image.finish());
    return { ...stats, tarBytes: budget.streamBytes, entries: budget.entries };
  } catch (error) {
    image.abort();
    throw error;
  }
}

async function applyLayer(
  image: ImageBuilder,
  source: TarSource,
  budget: TarBudget,
  report: () => void,
): Promise<void> {
  const sink = new LayerSink(image.tree, image.data, budget);
  await scanSource(source, new TarScanner(sink, budget), report);
}

/** Gives what the system says of the image's file the file's name and a code. */
function writing<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof SquibError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const kind =
      code === 'ENOSPC' ? 'resource-exhausted' : code === 'ENOENT' ? 'not-found' : 'failed-precondition';
    throw new SquibError(kind, `${path}: the image cannot be written`, { cause });
  }
}
