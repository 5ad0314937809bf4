import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SquibError } from '../../../src/base/errors.ts';
import {
  decodeMessage,
  encodeCommand,
  QMP_LINE_BYTES_MAX,
  QmpDecoder,
  type QmpMessage,
} from '../../../src/vmm/qemu/qmp-codec.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const breaks = (error: unknown) => error instanceof SquibError && error.code === 'data-loss';

// What QEMU 7.2.22 sent, as recorded.
const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, ' +
  '"package": "Debian 1:7.2+dfsg-7+deb12u18+b3"}, "capabilities": ["oob"]}}\r\n';
const EVENT =
  '{"timestamp": {"seconds": 1795405688, "microseconds": 99}, "event": "DEVICE_DELETED", ' +
  '"data": {"device": "rootfs", "path": "/machine/peripheral/rootfs"}}\r\n';

test('refuses what is no QMP message', () => {
  const hostile = [
    '',
    'hello',
    'null',
    '[]',
    '"QMP"',
    '17',
    '{}',
    '{"id":1}',
    '{"return":{}}',
    '{"return":{},"id":"1"}',
    '{"return":{},"id":1.5}',
    '{"return":{},"id":null}',
    '{"error":"text","id":1}',
    '{"error":null,"id":1}',
    '{"event":7}',
    '{"event":{"name":"STOP"}}',
    '{"return":{},"id":1',
    `${'['.repeat(10_000)}`,
  ];
  for (const line of hostile) assert.throws(() => decodeMessage(line), breaks, line.slice(0, 40));
});

test('an inherited member is not a message', () => {
  assert.throws(() => decodeMessage('{"__proto__":{"return":{}},"id":1}'), breaks);
});

test('a line over the limit breaks the stream, in one chunk or in many', () => {
  const long = new Uint8Array(QMP_LINE_BYTES_MAX + 1).fill(0x20);
  assert.throws(() => new QmpDecoder().push(long), breaks);
  const decoder = new QmpDecoder();
  const chunk = new Uint8Array(1024).fill(0x20);
  for (let n = 0; n < QMP_LINE_BYTES_MAX / 1024; n++) assert.deepEqual(decoder.push(chunk), []);
  assert.throws(() => decoder.push(chunk), breaks);
});

test('reads what QEMU sends', () => {
  const decoder = new QmpDecoder();
  const stream = `${GREETING}${EVENT}{"return": {}, "id": 1}\r\n{"id": 2, "error": {"class": "GenericError", "desc": "no"}}\r\n`;
  assert.deepEqual(decoder.push(bytes(stream)), [
    { kind: 'greeting', version: '7.2.22' },
    { kind: 'event', name: 'DEVICE_DELETED', data: { device: 'rootfs', path: '/machine/peripheral/rootfs' } },
    { kind: 'return', id: 1, value: {} },
    { kind: 'error', id: 2, errorClass: 'GenericError', desc: 'no' },
  ]);
});

test('a greeting that hides its version reads as 0s, and odd error members as empty', () => {
  assert.deepEqual(decodeMessage('{"QMP":[]}'), { kind: 'greeting', version: '0.0.0' });
  assert.deepEqual(decodeMessage('{"error":{"class":[],"desc":7},"id":1}'), {
    kind: 'error',
    id: 1,
    errorClass: '',
    desc: '',
  });
  assert.deepEqual(decodeMessage('{"event":"STOP","data":3}'), { kind: 'event', name: 'STOP', data: {} });
});

test('messages do not depend on how the stream is cut', () => {
  const line = fc.record({ id: fc.nat(), return: fc.dictionary(fc.string(), fc.string()) });
  fc.assert(
    fc.property(fc.array(line, { maxLength: 5 }), fc.array(fc.integer({ min: 1, max: 9 })), (lines, cuts) => {
      const stream = bytes(lines.map((message) => `${JSON.stringify(message)}\r\n`).join(''));
      const whole = new QmpDecoder().push(stream.slice());
      const decoder = new QmpDecoder();
      const parts: QmpMessage[] = [];
      let at = 0;
      for (let i = 0; at < stream.length; i++) {
        const next = at + (cuts[i % (cuts.length || 1)] ?? 3);
        const chunk = stream.slice(at, next);
        parts.push(...decoder.push(chunk));
        chunk.fill(0); // the decoder must not have kept a view
        at = next;
      }
      assert.deepEqual(parts, whole);
      assert.equal(whole.length, lines.length);
    }),
  );
});

test('arbitrary bytes give messages or a breach, nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (input) => {
      try {
        new QmpDecoder().push(input);
      } catch (error) {
        assert.ok(breaks(error), String(error));
      }
    }),
  );
});

test('encodes a command as one line', () => {
  assert.equal(encodeCommand(1, 'qmp_capabilities'), '{"execute":"qmp_capabilities","id":1}\n');
  assert.equal(
    encodeCommand(7, 'device_del', { id: 'a\nb' }),
    '{"execute":"device_del","arguments":{"id":"a\\nb"},"id":7}\n',
  );
});
