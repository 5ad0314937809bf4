/** containerd.types.Mount (containerd: api/types/mount.proto). */
import { list, type MessageOf, message, string } from './codec.ts';

export const Mount = message('containerd.types.Mount', {
  type: string(1),
  source: string(2),
  /** containerd 1.6 and later; a path below the rootfs, empty for the rootfs itself. */
  target: string(3),
  options: list(string(4)),
});
export type Mount = MessageOf<typeof Mount>;
