import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { afterEach, describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { withDeadline } from '../../src/base/deadline.ts';
import { AGENT_METHODS, AGENT_SERVICE } from '../../src/proto/agent.ts';
import { Client } from '../../src/ttrpc/client.ts';
import { SerialHost } from '../../src/vsock/host.ts';
import { type NativeAgent, nativeAgentMissing, startNativeAgent } from './native-agent.ts';

/** It takes milliseconds; a loaded machine may take seconds. */
const DEADLINE_MS = 20_000;
/** DESIGN: 1 MB. The kernel maps file pages ahead as it likes, so a tenth more. */
const IDLE_RSS_KB_MAX = 1_100;
/** Private memory, with cyclic garbage up to one and a half of what is live. */
const BUSY_RSS_KB_MAX = 1_200;
/** Enough for several collections of cycles. */
const CALLS = 3_000;

/** Sends every byte by itself, so that each frame is split wherever it can be. */
function byteWise(wire: Duplex): Duplex {
  const outer = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      const send = async () => {
        for (const byte of chunk) {
          await new Promise((sent) => wire.write(Uint8Array.of(byte), sent));
          await turn();
        }
      };
      send().then(() => done(), done);
    },
  });
  wire.on('data', (chunk) => outer.push(chunk));
  wire.on('end', () => outer.push(null));
  wire.on('error', () => outer.destroy());
  return outer;
}

describe('the agent’s ELF on this kernel', { skip: nativeAgentMissing() }, () => {
  let agent: NativeAgent | undefined;
  afterEach(async () => await agent?.stop());

  async function attach(through: (wire: Duplex) => Duplex = (wire) => wire) {
    agent = startNativeAgent();
    const host = SerialHost.attach(through(agent.wire));
    await withDeadline(host.ready, DEADLINE_MS, 'HELLO');
    return { agent, host };
  }

  async function configure(host: SerialHost, hostname: string) {
    const { request, response } = AGENT_METHODS.Configure;
    const client = new Client(host.connect(1));
    const message = { hostname, entropy: new Uint8Array(32).fill(1) };
    try {
      return await client.call(AGENT_SERVICE, 'Configure', request, response, message as never, {
        timeoutMs: DEADLINE_MS,
      });
    } finally {
      client.close();
    }
  }

  it('ends when the wire carries something else', async () => {
    for (const bytes of [Buffer.alloc(64, 0xff), Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(12)]) {
      agent = startNativeAgent();
      agent.wire.on('data', () => {});
      agent.wire.write(bytes);
      const { signal } = await withDeadline(agent.exited, DEADLINE_MS, 'the end of the agent');
      assert.equal(signal, 'SIGHUP', 'a restart, as PID 1 of a pid namespace shows it');
    }
  });

  it('ends when the wire closes', async () => {
    const { agent, host } = await attach();
    host.close();
    const { signal } = await withDeadline(agent.exited, DEADLINE_MS, 'the end of the agent');
    assert.equal(signal, 'SIGHUP');
  });

  it('answers when every byte comes by itself', async () => {
    const { host } = await attach(byteWise);
    const answer = await configure(host, 'bytewise');
    assert.match(answer.kernelRelease, /^\d+\.\d+/);
    host.close();
  });

  it('holds no more memory than it may, idle and after thousands of calls', async () => {
    const { agent, host } = await attach();
    const idle = agent.statusKb('VmRSS');
    assert.ok(idle > 0 && idle <= IDLE_RSS_KB_MAX, `VmRSS is ${idle} kB`);
    for (let i = 0; i < CALLS; i++) await configure(host, 'warm');
    const warm = agent.statusKb('RssAnon');
    for (let i = 0; i < CALLS; i++) await configure(host, 'steady');
    const after = agent.statusKb('RssAnon');
    assert.ok(after <= warm + 32, `RssAnon grew from ${warm} to ${after} kB over ${CALLS} calls and streams`);
    assert.ok(after <= BUSY_RSS_KB_MAX, `RssAnon is ${after} kB`);
    host.close();
  });
});
