import { equal, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sleep, withDeadline } from '../../src/base/deadline.ts';

describe('withDeadline', () => {
  it('rejects when the work is late, and says what was awaited', async () => {
    await rejects(withDeadline(new Promise(() => {}), 5, "the agent's first frame"), {
      code: 'deadline-exceeded',
      message: "the agent's first frame did not come within 5 ms",
    });
  });

  it('swallows the failure of late work', async () => {
    let fail: (error: Error) => void = () => {};
    const work = new Promise<never>((_, reject) => {
      fail = reject;
    });
    await rejects(withDeadline(work, 1, 'x'), { code: 'deadline-exceeded' });
    fail(new Error('late'));
    await sleep(1);
  });

  it('gives the outcome of work in time and leaves no timer', async () => {
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    equal(await withDeadline(Promise.resolve(5), 60_000, 'x'), 5);
    await rejects(withDeadline(Promise.reject(new Error('no')), 60_000, 'x'), { message: 'no' });
    equal(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length, before);
  });
});
