/**
 * The closed set of error codes. They are the subset of google.rpc.Code that containerd and its
 * clients tell apart; the mapping to wire numbers lives in src/ttrpc/status.ts alone.
 */
export type ErrorCode =
  | 'aborted'
  | 'already-exists'
  | 'canceled'
  | 'data-loss'
  | 'deadline-exceeded'
  | 'failed-precondition'
  | 'internal'
  | 'invalid-argument'
  | 'not-found'
  | 'permission-denied'
  | 'resource-exhausted'
  | 'unavailable'
  | 'unimplemented'
  | 'unknown';

/** What may go with an error beside its message. */
export interface ErrorDetail {
  /** The error underneath; its text is appended by `describe`, so a message never repeats it. */
  readonly cause?: unknown;
}

/**
 * squib's one error type. The code is a contract; the message may change. A message says what
 * failed, with which value, what was expected and what to do.
 */
export class SquibError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, detail?: ErrorDetail) {
    super(message, detail);
    this.name = 'SquibError';
    this.code = code;
  }
}

/** Turns anything thrown into a SquibError; one that already is comes back as it is. */
export function toSquibError(thrown: unknown, code: ErrorCode = 'unknown'): SquibError {
  if (thrown instanceof SquibError) return thrown;
  if (thrown instanceof Error) return new SquibError(code, thrown.message, { cause: thrown.cause });
  return new SquibError(code, String(thrown));
}

/** The message of an error with the messages of its causes behind it, joined by ": ". */
export function describe(thrown: unknown): string {
  const parts: string[] = [];
  let at: unknown = thrown;
  for (let depth = 0; at !== undefined && at !== null && depth < CAUSE_DEPTH_MAX; depth++) {
    parts.push(at instanceof Error ? at.message : String(at));
    at = at instanceof Error ? at.cause : undefined;
  }
  return parts.join(': ');
}

/** Causes beyond this depth are a cycle or noise. */
const CAUSE_DEPTH_MAX = 8;
