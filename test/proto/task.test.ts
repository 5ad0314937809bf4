import { deepEqual } from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as task from '../../src/proto/task.ts';
import { agrees, codecsOf, messagesOf, methodsOf, missing } from './oracle.ts';

describe("containerd's Task service", { skip: missing() }, () => {
  const codecs = codecsOf(task);

  it('has every message of the published file but the one that no call uses', () => {
    const published = messagesOf('containerd', 'containerd.task.v2');
    const ours = [...codecs.keys()].filter((name) => name.startsWith('containerd.task.v2.'));
    deepEqual(
      ours.sort(),
      published.filter((name) => name !== 'containerd.task.v2.ExecProcessResponse').sort(),
    );
  });

  for (const [name, codec] of codecs) it(`${name} agrees with the oracle`, () => agrees('containerd', codec));

  it('has every method with its messages', () => {
    const ours = Object.fromEntries(
      Object.entries(task.TASK_METHODS).map(([name, rpc]) => [
        name,
        { input: rpc.request.name, output: rpc.response.name },
      ]),
    );
    deepEqual(ours, methodsOf('containerd', 'containerd.task.v2.Task'));
  });
});
