import { deepEqual, equal } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ErrorCode, SquibError } from '../../src/base/errors.ts';
import { errorOf, STATUS_MESSAGE_CHARS_MAX, statusOf } from '../../src/ttrpc/status.ts';

/** google/rpc/code.proto, by hand. */
const GOOGLE: Record<ErrorCode, number> = {
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

describe('a status from a hostile or unknown peer', () => {
  it('with a code that is none of ours has the nearest, or unknown', () => {
    deepEqual(
      [11, 16, 17, 999, -1, 0].map((code) => errorOf({ code, message: 'm' }).code),
      ['invalid-argument', 'permission-denied', 'unknown', 'unknown', 'unknown', 'unknown'],
    );
  });

  it('without words still says something', () => {
    equal(errorOf({ code: 5, message: '' }).message, 'the peer answered with code 5');
  });
});

describe('status', () => {
  it('has the number of each code, and back', () => {
    for (const [code, number] of Object.entries(GOOGLE)) {
      deepEqual(statusOf(new SquibError(code as ErrorCode, 'm')), { code: number, message: 'm' });
      equal(errorOf({ code: number, message: 'm' }).code, code);
    }
  });

  it('tells the causes', () => {
    const error = new SquibError('internal', 'mount failed', { cause: new Error('EPERM') });
    equal(statusOf(error).message, 'mount failed: EPERM');
  });

  it('takes anything thrown', () => {
    deepEqual(statusOf(new TypeError('x')), { code: 2, message: 'x' });
    deepEqual(statusOf('text'), { code: 2, message: 'text' });
    deepEqual(statusOf(undefined), { code: 2, message: '' });
  });

  it('cuts a long text', () => {
    equal(statusOf(new Error('x'.repeat(1e6))).message.length, STATUS_MESSAGE_CHARS_MAX);
  });
});
