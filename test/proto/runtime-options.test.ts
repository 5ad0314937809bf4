import { deepEqual } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RuntimeOptions } from '../../src/proto/runtime-options.ts';
import { agrees, missing } from './oracle.ts';

describe('runtime options', () => {
  it('agree with the oracle', { skip: missing() }, () => agrees('newer', RuntimeOptions));

  it("reads what ctr's --runtime-config-path sends", () => {
    const value = Buffer.concat([Buffer.from([0x12, 0x0f]), Buffer.from('/etc/squib.json')]);
    deepEqual(RuntimeOptions.decode(value).configPath, '/etc/squib.json');
  });
});
