import { runCommand } from '../base/command.ts';
import { type ErrorCode, SquibError } from '../base/errors.ts';
import type { DirectoryKind, OverlayNamespace } from './directory/overlay-xattrs.ts';

/** A conversion copies whole images; minutes are normal for gigabytes on a slow disk. */
const CONVERT_TIMEOUT_MS = 600_000;

/** Where an image may lie. */
export interface ImagePlace {
  readonly path: string;
  /** In a directory that all images share, of bounded size: image-eviction.ts. */
  readonly shared?: { readonly dir: string; readonly bytesMax: number };
}

/** What the conversion process is asked for, as JSON in its one argument. */
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

/**
 * Runs one conversion in a process of its own: its memory goes back to the host at its end, it blocks
 * nobody's loop, and the locks that it holds end with it.
 * @param converter the program, cmd/convert.ts or its bundle.
 * @returns where the result lies.
 * @throws SquibError the converter's own, with its code.
 */
export async function convert(converter: string, job: ConversionJob): Promise<string> {
  const args = ['--no-warnings', '--v8-pool-size=1', converter, JSON.stringify(job)];
  const output = await runCommand(process.execPath, args, { timeoutMs: CONVERT_TIMEOUT_MS });
  const result = JSON.parse(output) as ConversionResult;
  if ('path' in result) return result.path;
  throw new SquibError(result.error.code, result.error.message);
}
