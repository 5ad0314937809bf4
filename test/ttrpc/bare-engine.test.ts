import { deepEqual, equal } from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { FrameDecoder } from '../../src/ttrpc/frame.ts';
import { decodeResponse } from '../../src/ttrpc/message.ts';
import { golden } from './vectors.ts';

const ROOT = join(import.meta.dirname, '../..');

/** What the guest agent takes from here, minified: the whole agent has half a megabyte. */
const BUNDLE_BYTES_MAX = 20_000;

/** All that the guest agent's engine has; everything else is taken out of the context. */
const ENGINE_HAS = new Set([
  ...['Object', 'Function', 'Array', 'String', 'Number', 'Boolean', 'Symbol', 'Math', 'Map', 'Set', 'BigInt'],
  ...[
    'Error',
    'TypeError',
    'RangeError',
    'Uint8Array',
    'ArrayBuffer',
    'undefined',
    'NaN',
    'Infinity',
    'globalThis',
  ],
]);

const SOURCE = `
  import { SquibError } from './src/base/errors.ts';
  import { ServerConnection } from './src/ttrpc/server-connection.ts';
  import { AGENT_METHODS, AGENT_SERVICE } from './src/proto/agent.ts';
  globalThis.serve = (send) => new ServerConnection({
    send,
    call: (call) => {
      if (call.service !== AGENT_SERVICE) throw new SquibError('unimplemented', 'no ' + call.service);
      const { request, response } = AGENT_METHODS.Pids;
      call.reply(response.encode({ pids: [request.decode(call.payload).container.length, 2 ** 32 - 1] }));
    },
  });
  globalThis.ask = (container) => AGENT_METHODS.Pids.request.encode({ container });
  globalThis.read = (payload) => AGENT_METHODS.Pids.response.decode(payload).pids.join();
`;

async function bundle(): Promise<string> {
  const made = await build({
    stdin: { contents: SOURCE, resolveDir: ROOT, loader: 'ts' },
    bundle: true,
    minify: true,
    write: false,
    format: 'iife',
    platform: 'neutral',
    target: 'es2022',
  });
  return made.outputFiles[0]?.text ?? '';
}

describe('the part that the guest agent shares', () => {
  it('stays small', async () => {
    const { length } = await bundle();
    equal(length > 1000 && length < BUNDLE_BYTES_MAX, true, `${length} bytes`);
  });

  it('runs on an engine without promises, JSON, RegExp, Date, timers and text coders', async () => {
    const context = createContext({});
    runInContext(
      `for (const name of Object.getOwnPropertyNames(globalThis))
         if (!${JSON.stringify([...ENGINE_HAS])}.includes(name)) delete globalThis[name];`,
      context,
    );
    equal(
      runInContext('typeof Promise + typeof JSON + typeof RegExp + typeof Date', context),
      'undefined'.repeat(4),
    );
    runInContext(await bundle(), context);

    const frames: Uint8Array[] = [];
    const connection = context['serve']((bytes: Uint8Array) => frames.push(Uint8Array.from(bytes)));
    connection.receive(golden('request-connect'));
    const payload = Buffer.from(context['ask']('grüße'));
    const service = Buffer.from('squib.agent.v1.Agent');
    const body = Buffer.concat([
      Buffer.from([0x0a, service.length]),
      service,
      Buffer.from([0x1a, payload.length]),
      payload,
    ]);
    const head = Buffer.from('00000000000000050100', 'hex');
    head.writeUInt32BE(body.length);
    connection.receive(Buffer.concat([head, body]));

    const answers = frames.flatMap((bytes) => new FrameDecoder().push(bytes));
    deepEqual(
      answers.map((frame) => [frame.stream, decodeResponse(frame.data).status?.code]),
      [
        [3, 12],
        [5, undefined],
      ],
    );
    equal(context['read'](decodeResponse((answers[1] as (typeof answers)[0]).data).payload), '5,4294967295');
  });
});
