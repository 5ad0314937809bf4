import { deepEqual, equal, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Any, isAny, packAny, unpackAny } from '../../src/proto/any.ts';
import { RuntimeOptions } from '../../src/proto/runtime-options.ts';
import { StateRequest } from '../../src/proto/task.ts';
import { agrees, missing } from './oracle.ts';

describe('Any', () => {
  it('refuses another type, and names both', () => {
    const any = packAny(StateRequest, { id: 'x' });
    throws(() => unpackAny(any, RuntimeOptions), {
      code: 'invalid-argument',
      message: "the Any holds 'containerd.task.v2.StateRequest', not runtimeoptions.v1.Options",
    });
  });

  it('refuses a value that does not decode', () => {
    const any = { typeUrl: RuntimeOptions.name, value: new Uint8Array([0x0a]) };
    throws(() => unpackAny(any, RuntimeOptions), { code: 'invalid-argument' });
  });

  it('is packed without a host and read with any', () => {
    const any = packAny(RuntimeOptions, { configPath: '/x' });
    equal(any.typeUrl, 'runtimeoptions.v1.Options');
    for (const host of ['', '/', 'type.googleapis.com/', 'a/b/'])
      equal(unpackAny({ ...any, typeUrl: host + any.typeUrl }, RuntimeOptions).configPath, '/x');
    equal(isAny({ ...any, typeUrl: `x${any.typeUrl}` }, RuntimeOptions), false);
    deepEqual(Any.decode(Any.encode(any)), any);
  });

  it('agrees with the oracle', { skip: missing() }, () => agrees('containerd', Any));
});
