import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BoundedQueue } from '../../src/base/bounded-queue.ts';
import { SquibError } from '../../src/base/errors.ts';

test('a full queue refuses, names itself and keeps what it has', () => {
  const queue = new BoundedQueue<number>(2, 'events for nobody');
  queue.push(1);
  queue.push(2);
  assert.throws(
    () => queue.push(3),
    (e) =>
      e instanceof SquibError && e.code === 'resource-exhausted' && /events for nobody: 2/.test(e.message),
  );
  assert.deepEqual([queue.shift(), queue.shift(), queue.shift()], [1, 2, undefined]);
});

test('behaves as an array of limited length does', () => {
  const LIMIT = 150;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 400 }), (steps) => {
      const queue = new BoundedQueue<number>(LIMIT, 'queue');
      const model: number[] = [];
      let next = 0;
      for (const step of steps) {
        for (let i = 0; i < Math.abs(step) * 10; i++) {
          if (step < 0) assert.equal(queue.shift(), model.shift());
          else if (model.length < LIMIT) {
            queue.push(next);
            model.push(next++);
          } else assert.throws(() => queue.push(next));
          assert.equal(queue.length, model.length);
        }
      }
      queue.clear();
      assert.equal(queue.length, 0);
      assert.equal(queue.shift(), undefined);
    }),
  );
});
