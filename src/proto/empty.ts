/** google.protobuf.Empty: the request or response of a call that has nothing to say. */
import { type MessageOf, message } from './codec.ts';

export const Empty = message('google.protobuf.Empty', {});
export type Empty = MessageOf<typeof Empty>;
