/**
 * containerd.types.RuntimeInfo (containerd 2.0: api/types/introspection.proto): the answer to
 * `-info`.
 */
import { Any } from './any.ts';
import { list, type MessageOf, message, string, sub } from './codec.ts';
import { StringEntry } from './string-entry.ts';

export const RuntimeVersion = message('containerd.types.RuntimeVersion', {
  version: string(1),
  revision: string(2),
});

export const RuntimeInfo = message('containerd.types.RuntimeInfo', {
  name: string(1),
  version: sub(2, RuntimeVersion),
  /** The options that came on stdin. */
  options: sub(3, Any),
  /** The runtime spec's features document; JSON in the Any. */
  features: sub(4, Any),
  annotations: list(sub(5, StringEntry)),
});
export type RuntimeInfo = MessageOf<typeof RuntimeInfo>;
