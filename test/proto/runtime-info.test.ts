import { equal } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RuntimeInfo, RuntimeVersion } from '../../src/proto/runtime-info.ts';
import { agrees, missing } from './oracle.ts';

describe('the answer to -info', () => {
  it('agrees with the oracle', { skip: missing() }, () => {
    agrees('newer', RuntimeInfo);
    agrees('newer', RuntimeVersion);
  });

  it('writes a map entry with key 1 and value 2', () => {
    const wire = RuntimeInfo.encode({ annotations: [{ key: 'k', value: 'v' }] });
    equal(Buffer.from(wire).toString('hex'), '2a060a016b120176');
  });
});
