import assert from 'node:assert/strict';
import { test } from 'node:test';
import { execFailure, findExecutable, homeOf, variable } from '../../src/agent/executable.ts';
import { SysError } from '../../src/agent/sys/sys-error.ts';
import { FakeKernel } from '../fake/kernel.ts';

const [ENOENT, EACCES, ENOTDIR, ENOEXEC] = [2, 13, 20, 8];
const FILE = 0o100755;

/** A kernel with these files: a mode, or a negative errno of stat. */
function withFiles(files: Readonly<Record<string, number>>, access = 0): FakeKernel {
  const fake = new FakeKernel().on('faccessat', access);
  return fake.on('statx', (call) => {
    const mode = files[call.texts[1] as string] ?? -ENOENT;
    if (mode < 0) return mode;
    fake.kernel.w16((call.args[4] as number) + 28, mode);
    return 0;
  });
}

const find = (files: Readonly<Record<string, number>>, name: string, path = '/a:/b', access = 0) =>
  findExecutable(withFiles(files, access).kernel, name, path);

test("the refusals, in runc's words", () => {
  assert.throws(() => find({}, 'foo'), {
    message: 'exec: "foo": executable file not found in $PATH',
    code: 'not-found',
  });
  assert.throws(() => find({ '/a/foo': FILE }, 'foo', ''), /executable file not found in \$PATH$/);
  assert.throws(() => find({}, '/x/foo'), {
    message: 'exec: "/x/foo": stat /x/foo: no such file or directory',
    code: 'not-found',
  });
  assert.throws(
    () => find({ '/f/x': -ENOTDIR }, '/f/x'),
    /^SquibError: exec: "\/f\/x": stat \/f\/x: not a directory$/,
  );
  assert.throws(() => find({ '/d': 0o40755 }, '/d'), {
    message: 'exec: "/d": permission denied',
    code: 'permission-denied',
  });
  assert.throws(() => find({ '/f': 0o100644 }, '/f'), {
    message: 'exec: "/f": permission denied',
    code: 'permission-denied',
  });
  assert.throws(() => find({ '/f': FILE }, '/f', '', -EACCES), {
    message: 'exec: "/f": permission denied',
    code: 'permission-denied',
  });
  assert.throws(
    () => find({ './foo': FILE }, 'foo', ':/b'),
    /cannot run executable found relative to current directory/,
  );
});

test('the first in PATH that can be executed', () => {
  assert.equal(find({ '/a/foo': 0o100644, '/b/foo': FILE }, 'foo'), '/b/foo');
  assert.equal(find({ '/a/foo': 0o40755, '/b/foo': FILE }, 'foo'), '/b/foo');
  assert.equal(find({ '/x/foo': FILE }, '/x/foo', ''), '/x/foo');
  assert.equal(find({ 'x/foo': FILE }, 'x/foo', ''), 'x/foo');
});

test('variables: the last one counts, and only the whole name', () => {
  assert.equal(variable(['PATH=/a', 'XPATH=/no', 'PATH=/b=c'], 'PATH'), '/b=c');
  assert.equal(variable(['PATHX=1'], 'PATH'), '');
});

test('the home of a user, whatever /etc/passwd holds', () => {
  const home = (text: string, uid: number) => {
    const fake = new FakeKernel();
    fake.once('read', (call) => {
      const bytes = new TextEncoder().encode(text);
      fake.kernel.bytes(call.args[1] as number, bytes.length).set(bytes);
      return bytes.length;
    });
    return homeOf(fake.kernel, uid);
  };
  assert.equal(home('root:x:0:0:root:/root:/bin/sh\nu:x:10:10::/home/u:\n', 10), '/home/u');
  assert.equal(home('a:x:1:1::/first:\nb:x:1:1::/second:\n', 1), '/first');
  assert.equal(home('u:x:10', 10), '/');
  assert.equal(home(':::::\n\n::', 0), '/');
  assert.equal(homeOf(new FakeKernel().on('openat', -ENOENT).kernel, 0), '/');
});

test('what execve says', () => {
  assert.equal(
    execFailure('/f', new SysError('execve', ENOEXEC, '/f')).message,
    'exec /f: exec format error',
  );
  assert.match(
    execFailure('/f', new SysError('execve', ENOENT, '/f')).message,
    /no such file or directory \(its interpreter/,
  );
});
