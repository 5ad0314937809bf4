import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeDirectories, openInRoot, resolveInRoot } from '../../src/agent/path.ts';
import { FakeKernel } from '../fake/kernel.ts';

const ROOT = '/r';
const [EEXIST, EINVAL, ENOENT, ENOTDIR] = [17, 22, 2, 20];

/** A kernel whose symlinks are these; all other paths are directories. */
function withLinks(links: Readonly<Record<string, string>>): FakeKernel {
  const fake = new FakeKernel();
  fake.on('readlinkat', (call) => {
    const target = links[call.texts[1] as string];
    if (target === undefined) return -EINVAL;
    const bytes = new TextEncoder().encode(target);
    fake.kernel.bytes(call.args[2] as number, bytes.length).set(bytes);
    return bytes.length;
  });
  return fake;
}

const resolve = (links: Readonly<Record<string, string>>, path: string) =>
  resolveInRoot(withLinks(links).kernel, ROOT, path);

test('a loop of symlinks is an error that names the path', () => {
  assert.throws(() => resolve({ '/r/a': 'b', '/r/b': '/a' }, '/a/x'), /ELOOP/);
});

test('symlinks and dots never lead out of the root', () => {
  assert.equal(resolve({}, '/../../etc/passwd'), '/r/etc/passwd');
  assert.equal(resolve({ '/r/a': '../../../etc' }, '/a/x'), '/r/etc/x');
  assert.equal(resolve({ '/r/a': '/b', '/r/b': '/../../c' }, 'a/../a/x'), '/r/c/x');
  assert.equal(resolve({ '/r/v/run': '/run' }, '/v/run/secrets/x'), '/r/run/secrets/x');
  assert.equal(resolve({ '/r/a': '/' }, '/a'), '/r');
});

test('whatever the image holds, the result lies below the root and has no dots', () => {
  const name = fc.constantFrom('a', 'b', 'c', '..', '.', '');
  const path = fc.array(name, { maxLength: 8 }).map((parts) => parts.join('/'));
  const target = fc
    .tuple(fc.boolean(), path)
    .map(([absolute, rest]) => (absolute ? `/${rest}` : rest || '.'));
  const key = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(fc.array(fc.tuple(key, target), { maxLength: 6 }), path, (entries, asked) => {
      const links = Object.fromEntries(entries.map(([parts, to]) => [`${ROOT}/${parts.join('/')}`, to]));
      let resolved: string;
      try {
        resolved = resolve(links, asked);
      } catch (thrown) {
        assert.match(String(thrown), /ELOOP/);
        return;
      }
      assert.ok(resolved === ROOT || resolved.startsWith(`${ROOT}/`), resolved);
      assert.ok(!resolved.split('/').includes('..'), resolved);
      // Nothing on the way is a symlink any more.
      const parts = resolved.split('/').slice(2);
      parts.forEach((_, i) => {
        assert.equal(links[`${ROOT}/${parts.slice(0, i + 1).join('/')}`], undefined);
      });
    }),
    { numRuns: 500 },
  );
});

test('other errors of readlink and mkdir come through', () => {
  const fake = withLinks({}).on('readlinkat', -ENOTDIR);
  assert.throws(() => resolveInRoot(fake.kernel, ROOT, '/f/x'), /readlinkat \/r\/f: ENOTDIR/);
  assert.throws(
    () => makeDirectories(new FakeKernel().on('mkdirat', -ENOTDIR).kernel, '/a'),
    /mkdirat \/a: ENOTDIR/,
  );
});

test('directories: each missing part is made, what exists is left', () => {
  const fake = new FakeKernel().on('mkdirat', (call) => (call.texts[1] === '/a' ? -EEXIST : 0));
  makeDirectories(fake.kernel, '/a//b/./c');
  assert.deepEqual(
    fake.of('mkdirat').map((call) => call.texts[1]),
    ['/a', '/a/b', '/a/b/c'],
  );
});

test('what is missing is made where it resolves to, then opened inside the root', () => {
  const fake = withLinks({ '/r/var': '/data' }).once('openat2', -ENOENT).on('openat2', 77);
  assert.equal(openInRoot(fake.kernel, ROOT, '/var/f/file', 'file'), 77);
  assert.deepEqual(
    fake.of('mkdirat').map((call) => call.texts[1]),
    ['/r', '/r/data', '/r/data/f'],
  );
  assert.ok(fake.of('openat').some((call) => call.texts[1] === '/r/data/f/file'));
  const resolveFlags = fake.of('openat2').map((call) => fake.kernel.r32((call.args[2] as number) + 16));
  assert.deepEqual(resolveFlags, [16, 16]);
});

test('what exists is opened and nothing is made', () => {
  const fake = withLinks({}).on('openat2', 77);
  assert.equal(openInRoot(fake.kernel, ROOT, '/x', 'directory'), 77);
  assert.deepEqual([fake.of('mkdirat').length, fake.of('readlinkat').length], [0, 0]);
});
