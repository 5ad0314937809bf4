import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StatsResponse } from '../../src/proto/agent.ts';
import { Metrics } from '../../src/proto/metrics-v2.ts';
import { metricsOf } from '../../src/shim/task/stats.ts';

const metrics = (stats: Parameters<typeof StatsResponse.encode>[0]) =>
  Metrics.decode(Metrics.encode(metricsOf(StatsResponse.decode(StatsResponse.encode(stats)))));

test('a guest that says nothing, or nonsense, still gives metrics', () => {
  assert.equal(metrics({}).memory?.usage, 0);
  const hostile = metrics({
    memoryStat: [
      { key: '__proto__', value: 1 },
      { key: 'constructor', value: 2 },
      { key: 'usage', value: 3 },
      { key: '', value: 4 },
    ],
    memoryCurrent: 5,
    ioStat: `\n8:0\n8:0 rbytes=x wbytes=-1 rios=1e3\n${'9:9 rbytes=1\n'.repeat(10_000)}`,
  });
  assert.equal(hostile.memory?.usage, 5, 'what the host computes is not overwritten');
  assert.ok((hostile.io?.usage.length ?? 0) <= 256);
  assert.deepEqual(hostile.io?.usage[0], { major: 8, minor: 0, rbytes: 0, wbytes: 0, rios: 1000, wios: 0 });
});

test('the keys of the kernel become the fields of the message', () => {
  const got = metrics({
    memoryStat: [
      { key: 'anon', value: 1 },
      { key: 'slab_reclaimable', value: 2 },
      { key: 'workingset_refault_file', value: 3 },
      { key: 'not_in_the_message', value: 4 },
    ],
    memoryEvents: [{ key: 'oom_kill', value: 5 }],
    memoryMax: 2n ** 64n - 1n,
    cpuStat: [{ key: 'user_usec', value: 6 }],
    pidsMax: 7,
  });
  assert.equal(got.memory?.anon, 1);
  assert.equal(got.memory?.slabReclaimable, 2);
  assert.equal(got.memory?.workingsetRefault, 3);
  assert.equal(got.memory?.usageLimit, 2 ** 64);
  assert.equal(got.memoryEvents?.oomKill, 5);
  assert.equal(got.cpu?.userUsec, 6);
  assert.equal(got.pids?.limit, 7);
});
