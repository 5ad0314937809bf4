import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { podRole, sandboxLimits } from '../../oci/annotations.ts';
import { parseProcess, parseSpec } from '../../oci/runtime-spec.ts';
import { SquibError } from '../../src/base/errors.ts';

const PROCESS = { user: { uid: 0, gid: 0 }, args: ['true'], cwd: '/' };
const SPEC = { ociVersion: '1.0.2-dev', process: PROCESS, root: { path: 'rootfs' } };

const refused = (json: unknown) => {
  try {
    parseSpec(typeof json === 'string' ? json : JSON.stringify(json));
  } catch (thrown) {
    assert.ok(thrown instanceof SquibError);
    assert.equal(thrown.code, 'invalid-argument');
    return thrown.message;
  }
  return assert.fail('it was accepted');
};

test('what is no JSON, or no object, is refused', () => {
  assert.match(refused(''), /config\.json is not JSON/);
  assert.match(refused('{"ociVersion": "1.0'), /config\.json is not JSON/);
  assert.match(refused('[]'), /the document: expected an object, found \[\]/);
  assert.match(refused('null'), /the document: expected an object, found null/);
  assert.match(refused({}), /ociVersion: expected a string, found nothing/);
});

test('a wrong shape is named by its JSON path', () => {
  const cases: [object, string][] = [
    [{ process: { ...PROCESS, args: ['a', 1] } }, 'process.args[1]: expected a string, found 1'],
    [{ process: { ...PROCESS, args: 'true' } }, 'process.args: expected a list, found "true"'],
    [{ process: { ...PROCESS, user: {} } }, 'process.user.uid: expected an integer from 0 to 4294967295'],
    [{ process: { ...PROCESS, user: { uid: -1, gid: 0 } } }, 'process.user.uid: expected an integer'],
    [{ process: { ...PROCESS, user: { uid: 2 ** 32, gid: 0 } } }, 'process.user.uid: expected an integer'],
    [{ process: { ...PROCESS, terminal: 'yes' } }, 'process.terminal: expected true or false, found "yes"'],
    [
      { process: { ...PROCESS, rlimits: [{ type: 'RLIMIT_CPU', hard: 1, soft: 0.5 }] } },
      'process.rlimits[0].soft: expected an integer',
    ],
    [{ mounts: [{ type: 'tmpfs' }] }, 'mounts[0].destination: expected a string, found nothing'],
    [{ annotations: { a: 1 } }, 'annotations["a"]: expected a string, found 1'],
    [
      { linux: { resources: { memory: { limit: '1G' } } } },
      'linux.resources.memory.limit: expected an integer',
    ],
    [{ linux: [] }, 'linux: expected an object, found []'],
    [{ process: { ...PROCESS, args: ['a\0b'] } }, 'process.args[0]: expected a string without NUL'],
  ];
  for (const [part, message] of cases) assert.ok(refused({ ...SPEC, ...part }).includes(message), message);
});

test('a value that is shown is cut', () => {
  assert.ok(refused({ ...SPEC, hostname: ['x'.repeat(10_000)] }).length < 200);
});

test('other versions than 1.x are refused', () => {
  for (const ociVersion of ['2.0.0', '0.9.0', '1', '', 'x1.0.0']) {
    assert.match(refused({ ...SPEC, ociVersion }), /ociVersion ".*" is not supported; expected 1\.x\.y/);
  }
});

test('null counts as absent, or as empty in a list, as Go writes it', () => {
  const spec = parseSpec(
    JSON.stringify({ ...SPEC, hostname: null, mounts: null, process: { ...PROCESS, args: null } }),
  );
  assert.equal(spec.hostname, undefined);
  assert.equal(spec.mounts, undefined);
  assert.deepEqual(spec.process?.args ?? [], []);
});

test('unknown fields are ignored, and __proto__ is one of them', () => {
  const spec = parseSpec(`{"ociVersion":"1.1.0","future":{"x":1},"__proto__":{"hostname":"evil"}}`);
  assert.equal(spec.hostname, undefined);
});

test('an infinite rlimit is 2^64 - 1', () => {
  const rlimits = '[{"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":0}]';
  const process = parseProcess(`{"user":{"uid":0,"gid":0},"cwd":"/","rlimits":${rlimits}}`);
  assert.deepEqual(process.rlimits, [{ type: 'RLIMIT_CORE', hard: 2n ** 64n - 1n, soft: 0n }]);
});

test('no JSON makes anything but a spec or a SquibError', () => {
  fc.assert(
    fc.property(fc.json(), (json) => {
      try {
        parseSpec(json);
      } catch (thrown) {
        assert.ok(thrown instanceof SquibError);
      }
    }),
  );
});

test('a container is alone, a sandbox or a member of one', () => {
  const withId = (id: string) =>
    parseSpec(JSON.stringify({ ...SPEC, annotations: { 'io.kubernetes.cri.sandbox-id': id } }));
  assert.deepEqual(podRole(parseSpec(JSON.stringify(SPEC)), 'a'), { kind: 'alone' });
  assert.deepEqual(podRole(withId('a'), 'a'), { kind: 'sandbox' });
  assert.deepEqual(podRole(withId('b'), 'a'), { kind: 'member', sandboxId: 'b' });
  assert.deepEqual(podRole(withId(''), 'a'), { kind: 'alone' });
});

test("a sandbox's limits are read where they are positive integers", () => {
  const limits = (memory: string) =>
    sandboxLimits(
      parseSpec(JSON.stringify({ ...SPEC, annotations: { 'io.kubernetes.cri.sandbox-memory': memory } })),
    ).memoryBytes;
  assert.equal(limits('1048576'), 1_048_576);
  for (const wrong of ['', '0', '-1', '1e400', '1.5', 'x']) assert.equal(limits(wrong), undefined, wrong);
});
