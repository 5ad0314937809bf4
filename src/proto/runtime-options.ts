/**
 * runtimeoptions.v1.Options (containerd: api/types/runtimeoptions/v1/api.proto): what containerd
 * passes to a runtime whose own options type it does not know, so to squib.
 */
import { bytes, type MessageOf, message, string } from './codec.ts';

export const RuntimeOptions = message('runtimeoptions.v1.Options', {
  typeUrl: string(1),
  /** Path of a configuration file; wins over the body. */
  configPath: string(2),
  /** containerd 1.7 and later: the TOML of the runtime's `options` table in CRI's configuration. */
  configBody: bytes(3),
});
export type RuntimeOptions = MessageOf<typeof RuntimeOptions>;
