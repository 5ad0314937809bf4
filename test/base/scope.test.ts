import { deepEqual, equal, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Scope } from '../../src/base/scope.ts';

describe('Scope with failing releases', () => {
  it('runs all others, and tells every failure by name', async () => {
    const ran: string[] = [];
    const scope = new Scope();
    scope.add('socket', () => {
      ran.push('socket');
      throw new Error('busy');
    });
    scope.add('mount', async () => {
      ran.push('mount');
    });
    scope.add('process', () => Promise.reject(new Error('gone')));
    await rejects(scope.close(), {
      code: 'internal',
      message: 'release failed: process: gone; socket: busy',
    });
    deepEqual(ran, ['mount', 'socket']);
  });

  it('gives later callers the first outcome', async () => {
    const scope = new Scope();
    let runs = 0;
    scope.add('x', () => {
      runs++;
      throw new Error('no');
    });
    await rejects(scope.close());
    await rejects(scope.close());
    equal(runs, 1);
  });
});

describe('Scope', () => {
  it('releases in reverse order, one after the other', async () => {
    const ran: string[] = [];
    const scope = new Scope();
    for (const name of ['a', 'b', 'c'])
      scope.add(name, async () => {
        ran.push(`${name}+`);
        await Promise.resolve();
        ran.push(`${name}-`);
      });
    await scope.close();
    deepEqual(ran, ['c+', 'c-', 'b+', 'b-', 'a+', 'a-']);
  });

  it('does not run what was taken off', async () => {
    const scope = new Scope();
    let ran = false;
    const keep = scope.add('x', () => {
      ran = true;
    });
    keep();
    keep();
    await scope.close();
    equal(ran, false);
  });

  it('releases a late arrival at once, and close waits for it', async () => {
    const scope = new Scope();
    await scope.close();
    equal(scope.closed, true);
    let done = false;
    scope.add('late', async () => {
      await Promise.resolve();
      done = true;
    });
    await scope.close();
    equal(done, true);
  });

  it('closes at the end of an `await using` block', async () => {
    let ran = false;
    {
      await using scope = new Scope();
      scope.add('x', () => {
        ran = true;
      });
    }
    equal(ran, true);
  });
});
