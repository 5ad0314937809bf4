import { runCommand } from '../base/command.ts';
import { type ErrorCode, SquibError } from '../base/errors.ts';
import type { DirectoryKind, OverlayNamespace } from './directory/overlay-xattrs.ts';

/** In MiB: with V8's default a million entries take more than a quarter of a gigabyte. */
const SMALL_YOUNG_GENERATION = '--max-semi-space-size=2';

/** A conversion copies whole images; minutes are normal for gigabytes on a slow disk. */
const CONVERT_TIMEOUT_MS = 600_000;

/** Where an image may lie. */
export interface ImagePlace {
  readonly path: string;
  /** In a directory that all images share, of bounded size: image-eviction.ts. */
  readonly shared?: { readonly dir: string; readonly bytesMax: number };
}

/** The converter's first argument where it is a process, with the job as its second. */
export const JOB_VERB = 'job';

/** What the conversion process is asked for, as JSON in its argument. */
export type ConversionJob =
  | {
      readonly kind: 'image';
      readonly directories: DirectoryKind;
      /** Absolute, top-most first. */
      readonly layers: readonly string[];
      readonly namespace: OverlayNamespace;
      /** 32 hex digits. */
      readonly uuid: string;
      /** In order of preference: the next one serves where the one before cannot be written. */
      readonly places: readonly ImagePlace[];
    }
  | {
      readonly kind: 'scratch';
      readonly path: string;
      readonly bytes: number;
      /** Its content goes below `/upper`. */
      readonly upperDir: string;
      readonly namespace: OverlayNamespace;
    }
  | {
      /** The way back: upper.ts. */
      readonly kind: 'commit';
      readonly scratch: string;
      readonly upperDir: string;
      readonly namespace: OverlayNamespace;
      readonly bytesMax: number;
    };

/** What it prints, as JSON. */
export type ConversionResult =
  | { readonly path: string }
  | { readonly error: { readonly code: ErrorCode; readonly message: string } };

/** What the program also offers to a process that loads it as a module: work of a few milliseconds. */
export interface Converter {
  /** Makes an empty scratch: scratch-file.ts. */
  makeScratch(path: string, bytes: number): void;
  /** Whether a commit has anything to do: upper/changes.ts. */
  mayHaveChanges(scratch: string, upperDir: string): boolean;
}

/**
 * Loads the converter at its first use: the ext4 writer and reader are a third of all that a shim
 * would otherwise parse before it answers.
 */
export async function loadConverter(converter: string): Promise<Converter> {
  return ((await import(converter)) as { converter: Converter }).converter;
}

/**
 * Runs one conversion in a process of its own: its memory goes back to the host at its end, it blocks
 * nobody's loop, and the locks that it holds end with it.
 * @param converter the program, cmd/convert.ts or its bundle.
 * @returns where the result lies.
 * @throws SquibError the converter's own, with its code.
 */
export async function convert(converter: string, job: ConversionJob): Promise<string> {
  const args = ['--no-warnings', '--v8-pool-size=1', converter, JOB_VERB, JSON.stringify(job)];
  const output = await runCommand(process.execPath, [SMALL_YOUNG_GENERATION, ...args], {
    timeoutMs: CONVERT_TIMEOUT_MS,
  });
  const result = JSON.parse(output) as ConversionResult;
  if ('path' in result) return result.path;
  throw new SquibError(result.error.code, result.error.message);
}
