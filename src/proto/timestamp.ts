/** google.protobuf.Timestamp: UTC time since the Unix epoch. */
import { i32, i64, type MessageOf, message } from './codec.ts';

/** `nanos` is 0..999_999_999 and counts forward, also before the epoch. */
export const Timestamp = message('google.protobuf.Timestamp', { seconds: i64(1), nanos: i32(2) });
export type Timestamp = MessageOf<typeof Timestamp>;

/** The timestamp of milliseconds since the epoch (`Date.now()`), to the microsecond. */
export function timestampOfMillis(millis: number): Timestamp {
  const seconds = Math.floor(millis / 1000);
  return { seconds, nanos: Math.floor((millis - seconds * 1000) * 1000) * 1000 };
}
