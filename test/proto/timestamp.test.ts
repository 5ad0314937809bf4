import { deepEqual, equal } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Timestamp, timestampOfMillis } from '../../src/proto/timestamp.ts';
import { agrees, missing } from './oracle.ts';

describe('timestamp', () => {
  it('counts nanoseconds forward, before the epoch too', () => {
    deepEqual(timestampOfMillis(0), { seconds: 0, nanos: 0 });
    deepEqual(timestampOfMillis(1_700_000_000_123), { seconds: 1_700_000_000, nanos: 123_000_000 });
    deepEqual(timestampOfMillis(-1), { seconds: -1, nanos: 999_000_000 });
  });

  it('keeps nanoseconds below a second for fractions of a millisecond', () => {
    for (const millis of [999.9999999, 1999.99999999, -0.0000001, 1_700_000_000_999.5]) {
      const { nanos } = timestampOfMillis(millis);
      equal(nanos >= 0 && nanos < 1e9 && Number.isInteger(nanos), true, `${millis}: ${nanos}`);
    }
  });

  it('agrees with the oracle', { skip: missing() }, () => agrees('containerd', Timestamp));
});
