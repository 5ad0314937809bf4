import { deepEqual, equal } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { halvesU64 } from '../../src/base/cursor.ts';
import * as agent from '../../src/proto/agent.ts';
import { agrees, codecsOf, messagesOf, methodsOf, missing } from './oracle.ts';

describe('the agent protocol', { skip: missing() }, () => {
  const codecs = codecsOf(agent);

  it('has every message of agent.proto and no other', () => {
    deepEqual([...codecs.keys()].sort(), messagesOf('agent', 'squib.agent.v1').sort());
  });

  for (const [name, codec] of codecs) it(`${name} agrees with the oracle`, () => agrees('agent', codec));

  it('has every method with its messages', () => {
    const ours = Object.fromEntries(
      Object.entries(agent.AGENT_METHODS).map(([name, rpc]) => [
        name,
        { input: rpc.request.name, output: rpc.response.name },
      ]),
    );
    deepEqual(ours, methodsOf('agent', agent.AGENT_SERVICE));
  });
});

describe('infinity', () => {
  const infinity = (1n << 64n) - 1n;

  it('reaches the syscall as all ones', () => {
    const read = agent.Rlimit.decode(agent.Rlimit.encode({ resource: 7, soft: 1024, hard: infinity }));
    deepEqual(halvesU64(read.hard), { low: 0xffff_ffff, high: 0xffff_ffff });
    deepEqual(halvesU64(read.soft), { low: 1024, high: 0 });
  });

  it('is written back as it was read', () => {
    const wire = agent.StatsResponse.encode({ memoryMax: infinity });
    equal(Buffer.from(wire).toString('hex'), '10ffffffffffffffffff01');
    deepEqual(agent.StatsResponse.encode(agent.StatsResponse.decode(wire)), wire);
  });
});
