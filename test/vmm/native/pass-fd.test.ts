import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { helperPath, skipReason } from './built.ts';

const skip = skipReason('pass-fd');
const dir = mkdtempSync(join(tmpdir(), 'squib-pass-fd-'));
after(() => rmSync(dir, { recursive: true }));

/** Prints what it gets on descriptor 0: the line, and what the passed descriptor reads. */
const RECEIVER = `
import array, os, socket, sys
s = socket.socket(fileno=0)
line, fds = b'', []
while not line.endswith(b'\\n'):
    part, controls, _, _ = s.recvmsg(1, socket.CMSG_SPACE(64))
    if not part: break
    line += part
    for level, kind, data in controls:
        a = array.array('i'); a.frombytes(data); fds += a
print(line, [os.read(fd, 100) for fd in fds])
`;

const noPython =
  spawnSync('python3', ['-c', '']).status === 0 ? false : 'python3 is missing: it is the receiver';

test('the line and one descriptor arrive', { skip: skip || noPython }, async () => {
  writeFileSync(join(dir, 'image'), 'the image');
  const receiver = spawn('python3', ['-c', RECEIVER], { stdio: ['pipe', 'pipe', 'inherit'] });
  let out = '';
  receiver.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  // Node's pipe is a unix socketpair; its own end plays the QMP socket.
  const { fd } = (receiver.stdin as unknown as { _handle: { fd: number } })._handle;
  const image = openSync(join(dir, 'image'), 'r');
  const line = `{"execute":"add-fd","id":${'1'.repeat(3000)}}`;
  const result = spawnSync(helperPath('pass-fd'), [line], { stdio: ['ignore', 'ignore', 'pipe', fd, image] });
  closeSync(image);
  assert.equal(result.status, 0, String(result.stderr));
  await new Promise((resolve) => receiver.once('close', resolve));
  assert.equal(out, `b'${line}\\n' [b'the image']\n`);
});

test('refuses wrong usage and says what failed', { skip }, () => {
  const run = (args: string[], stdio: (number | 'ignore' | 'pipe')[]) =>
    spawnSync(helperPath('pass-fd'), args, {
      stdio: ['ignore', 'ignore', 'pipe', ...stdio],
      encoding: 'utf8',
    });
  assert.equal(run([], []).status, 2);
  assert.equal(run(['a', 'b'], []).status, 2);
  assert.equal(run(['x'.repeat(4097)], []).status, 2);
  const file = openSync(join(dir, 'file'), 'w+');
  const notSocket = run(['x'], [file, file]);
  closeSync(file);
  assert.equal(notSocket.status, 1);
  assert.match(notSocket.stderr, /sendmsg: (Socket operation on non-socket|Not a socket)/);
});

test('is static: it runs without any library of the host', { skip }, () => {
  for (const name of ['pass-fd', 'jail', 'kvm-probe'] as const) {
    const headers = execFileSync('readelf', ['-lW', helperPath(name)], { encoding: 'utf8' });
    assert.doesNotMatch(headers, /INTERP/, name);
  }
});
