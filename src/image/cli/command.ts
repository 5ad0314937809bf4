import type { Output } from './output.ts';
import type { Progress } from './progress.ts';

/** What a command works with besides its arguments. */
export interface Surroundings {
  readonly stdout: Output;
  readonly progress: Progress;
  /** Positional arguments, of the number that the command wants. */
  readonly operands: readonly string[];
  /** Options that take a value, and flags ('' when given). */
  readonly options: Readonly<Record<string, string | undefined>>;
  readonly isJson: boolean;
}

export interface OptionHelp {
  /** The value's name in the help; undefined: a flag. */
  readonly value?: string;
  /** One letter. */
  readonly short?: string;
  readonly help: string;
}

/** One verb of `squib image`. */
export interface Command {
  readonly summary: string;
  /** Names of the positional arguments; the last may be in brackets, and then be missing. */
  readonly operands: readonly string[];
  readonly options: Readonly<Record<string, OptionHelp>>;
  /** More for the help, whole lines. */
  readonly notes?: string;
  run(surroundings: Surroundings): Promise<ExitCode> | ExitCode;
}

export type ExitCode = 0 | 1 | 2 | 3;
export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
/** The image or archive is damaged: code `data-loss`. */
export const EXIT_DAMAGED = 3;
