import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { SquibError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/log.ts';
import { EVENTS_METHODS, EVENTS_SERVICE, TaskOOM } from '../../src/proto/events.ts';
import { EventQueue } from '../../src/shim/event-queue.ts';
import { Server, unary } from '../../src/ttrpc/server.ts';

const dir = mkdtempSync(join(tmpdir(), 'squib-events-'));
after(() => rmSync(dir, { recursive: true }));
let serial = 0;

/** A containerd that notes ids and the namespace metadata, and may refuse. */
async function containerd(path: string, refuse: (id: string) => boolean = () => false) {
  const seen: string[] = [];
  const server = new Server({ logger: silentLogger });
  server.register(EVENTS_SERVICE, {
    Forward: unary(
      EVENTS_METHODS.Forward.request,
      EVENTS_METHODS.Forward.response,
      async (request, context) => {
        const { topic, namespace, event } = request.envelope ?? assert.fail();
        const id = TaskOOM.decode(event?.value ?? new Uint8Array()).containerId;
        assert.equal(topic, '/tasks/oom');
        assert.equal(namespace, 'ns');
        assert.deepEqual(context.metadata, [{ key: 'containerd-namespace-ttrpc', value: 'ns' }]);
        if (refuse(id)) throw new SquibError('unavailable', 'not now');
        seen.push(id);
        return {};
      },
    ),
  });
  await server.listen({ path });
  return { seen, server };
}

const queueAt = (address: string) => new EventQueue({ address, namespace: 'ns', logger: silentLogger });

test('events arrive in order, the refused one again before its successors', async () => {
  const path = join(dir, `${++serial}.sock`);
  let refusals = 1;
  const { seen, server } = await containerd(path, (id) => id === 'b' && refusals-- > 0);
  const queue = queueAt(path);
  for (const containerId of ['a', 'b', 'c']) queue.publish(TaskOOM, { containerId });
  await queue.flush(5000);
  assert.deepEqual(seen, ['a', 'b', 'c']);
  queue.close();
  await server.close();
});

test('a containerd that comes back gets what waited', async () => {
  const path = join(dir, `${++serial}.sock`);
  const queue = queueAt(path);
  queue.publish(TaskOOM, { containerId: 'early' });
  await sleep(300);
  const { seen, server } = await containerd(path);
  await queue.flush(5000);
  assert.deepEqual(seen, ['early']);
  await server.close();
  await sleep(50);
  const again = await containerd(path);
  queue.publish(TaskOOM, { containerId: 'late' });
  await queue.flush(5000);
  assert.deepEqual(again.seen, ['late']);
  queue.close();
  await again.server.close();
});

test('flush gives up at its deadline, and a queue without an address takes nothing', async () => {
  const queue = queueAt(join(dir, 'nobody.sock'));
  queue.publish(TaskOOM, { containerId: 'x' });
  const before = Date.now();
  await queue.flush(200);
  assert.ok(Date.now() - before < 900);
  queue.close();
  const none = queueAt('');
  none.publish(TaskOOM, { containerId: 'x' });
  await none.flush(10);
});
