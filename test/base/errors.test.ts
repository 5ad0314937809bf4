import { equal } from 'node:assert/strict';
import { it, describe as suite } from 'node:test';
import { describe, SquibError, toSquibError } from '../../src/base/errors.ts';

suite('describe', () => {
  it('ends on a cycle of causes', () => {
    const a = new Error('a');
    const b = new Error('b', { cause: a });
    a.cause = b;
    equal(describe(a).split(': ').length, 8);
  });

  it('joins the messages, whatever was thrown', () => {
    equal(describe(new SquibError('internal', 'outer', { cause: new Error('inner') })), 'outer: inner');
    equal(describe(new Error('x', { cause: 'text' })), 'x: text');
    equal(describe('text'), 'text');
    equal(describe(undefined), '');
    equal(describe(null), '');
    equal(describe(5), '5');
  });
});

suite('toSquibError', () => {
  it('leaves a SquibError as it is', () => {
    const error = new SquibError('not-found', 'x');
    equal(toSquibError(error, 'internal'), error);
  });

  it('wraps anything else with the code given, without saying it twice', () => {
    const cause = new Error('why');
    const made = toSquibError(new Error('what', { cause }), 'aborted');
    equal(made.code, 'aborted');
    equal(describe(made), 'what: why');
    equal(toSquibError('text').code, 'unknown');
    equal(toSquibError(undefined).message, 'undefined');
  });
});

suite('SquibError', () => {
  it('is an Error with its name and code', () => {
    const error = new SquibError('not-found', 'no such thing');
    equal(error instanceof Error, true);
    equal(String(error), 'SquibError: no such thing');
    equal('cause' in error, false);
  });
});
