import { describe, it } from 'node:test';
import { Metrics } from '../../src/proto/metrics-v1.ts';
import { agrees, missing } from './oracle.ts';

describe('cgroups v1 metrics', { skip: missing() }, () => {
  it('agree with the oracle, all the way down', () => agrees('containerd', Metrics));
});
