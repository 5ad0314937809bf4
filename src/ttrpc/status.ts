/**
 * squib's error codes and google.rpc.Code: the one place where they meet.
 * Runs in the guest agent too.
 */
import { describe, type ErrorCode, SquibError, toSquibError } from '../base/errors.ts';
import type { Status } from './message.ts';

const NUMBERS: Readonly<Record<ErrorCode, number>> = {
  canceled: 1,
  unknown: 2,
  'invalid-argument': 3,
  'deadline-exceeded': 4,
  'not-found': 5,
  'already-exists': 6,
  'permission-denied': 7,
  'resource-exhausted': 8,
  'failed-precondition': 9,
  aborted: 10,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  'data-loss': 15,
};

/** Numbers that squib never sends, by the code that callers treat alike. */
const NEAREST: Readonly<Record<number, ErrorCode>> = {
  11: 'invalid-argument', // OUT_OF_RANGE
  16: 'permission-denied', // UNAUTHENTICATED
};

/** Longer texts (a guest's console, say) are cut: a status must fit into one frame. */
export const STATUS_MESSAGE_CHARS_MAX = 64 * 1024;

/** The status of anything thrown: its message with those of its causes. */
export function statusOf(thrown: unknown): Status {
  return {
    code: NUMBERS[toSquibError(thrown).code],
    message: describe(thrown).slice(0, STATUS_MESSAGE_CHARS_MAX),
  };
}

/** The error of a status that is not OK; a code that squib does not know gives `unknown`. */
export function errorOf(status: Status): SquibError {
  const message = status.message === '' ? `the peer answered with code ${status.code}` : status.message;
  return new SquibError(codeOf(status.code), message);
}

function codeOf(number: number): ErrorCode {
  for (const code in NUMBERS) if (NUMBERS[code as ErrorCode] === number) return code as ErrorCode;
  return NEAREST[number] ?? 'unknown';
}
