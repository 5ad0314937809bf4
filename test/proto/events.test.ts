import { deepEqual, equal, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { unpackAny } from '../../src/proto/any.ts';
import * as events from '../../src/proto/events.ts';
import { StateRequest } from '../../src/proto/task.ts';
import { agrees, codecsOf, messagesOf, methodsOf, missing } from './oracle.ts';

describe("containerd's task events", { skip: missing() }, () => {
  const codecs = codecsOf(events);

  it('has every message of the published file', () => {
    const published = messagesOf('containerd', 'containerd.events').filter((name) => name.includes('.Task'));
    deepEqual(
      [...codecs.keys()].filter((name) => name.startsWith('containerd.events.')).sort(),
      published.sort(),
    );
  });

  for (const [name, codec] of codecs) it(`${name} agrees with the oracle`, () => agrees('containerd', codec));

  it('has the service', () => {
    const { Forward } = events.EVENTS_METHODS;
    deepEqual(methodsOf('containerd', events.EVENTS_SERVICE), {
      Forward: { input: Forward.request.name, output: Forward.response.name },
    });
  });
});

describe('envelope', () => {
  const timestamp = { seconds: 1, nanos: 2 };

  it('refuses a message that is no task event', () => {
    throws(() => events.envelope({ event: StateRequest, value: {}, namespace: 'default', timestamp }), {
      code: 'invalid-argument',
    });
  });

  it('carries topic, namespace and the packed event', () => {
    const made = events.envelope({
      event: events.TaskExit,
      value: { containerId: 'c', id: 'c', exitStatus: 3 },
      namespace: 'k8s.io',
      timestamp,
    });
    const read = events.Envelope.decode(events.Envelope.encode(made));
    deepEqual([read.topic, read.namespace, read.timestamp], ['/tasks/exit', 'k8s.io', timestamp]);
    equal(read.event?.typeUrl, 'containerd.events.TaskExit');
    equal(read.event && unpackAny(read.event, events.TaskExit).exitStatus, 3);
  });

  it('knows a topic for every task event', () => {
    for (const name of events.TASK_TOPICS.keys()) equal(codecsOf(events).has(name), true, name);
    equal(events.TASK_TOPICS.size, 10);
  });
});
