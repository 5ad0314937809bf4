import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SquibError } from '../../src/base/errors.ts';
import { parseFlags } from '../../src/shim/flags.ts';

test('an id or a namespace that could leave its directory is refused', () => {
  for (const wrong of ['', '.', '..', '../x', 'a/b', 'a\0b', '-x', 'a..b', 'a b', 'x'.repeat(77), 'é']) {
    for (const flags of [
      ['-namespace', 'ns', '-id', wrong],
      ['-namespace', wrong, '-id', 'c'],
    ]) {
      assert.throws(
        () => parseFlags(flags),
        (thrown) => thrown instanceof SquibError && thrown.code === 'invalid-argument',
        JSON.stringify(flags),
      );
    }
  }
  assert.throws(() => parseFlags(['-namespace', 'ns', '-id']), /-id is ""/);
});

test('the flags of the launcher', () => {
  const flags = [
    '-namespace',
    'k8s.io',
    '-address',
    '/a b',
    '-publish-binary',
    '',
    '-id',
    'x_1-y.z',
    '-debug',
  ];
  assert.deepEqual(parseFlags(flags), {
    namespace: 'k8s.io',
    id: 'x_1-y.z',
    address: '/a b',
    publishBinary: '',
    bundle: '',
    debug: true,
  });
});
