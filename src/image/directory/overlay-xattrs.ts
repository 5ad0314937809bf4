import { SquibError } from '../../base/errors.ts';

/** How overlayfs stores its own marks: `trusted.`, or `user.` in layers of a rootless containerd (userxattr). */
export type OverlayNamespace = 'trusted' | 'user';

/** On a directory: nothing of the layers below shows through. */
export const OPAQUE = 'overlay.opaque';
const OPAQUE_YES = 'y'.charCodeAt(0);

export function isOpaque(value: Uint8Array | undefined): boolean {
  return value?.length === 1 && value[0] === OPAQUE_YES;
}

/**
 * Marks that change what a file is, which containerd never lets overlayfs make: a file that only
 * holds changed attributes, a renamed directory, a deletion that is no device.
 */
const UNSUPPORTED = ['metacopy', 'redirect', 'whiteout'];

/**
 * What directories are. `overlay`: layers of an overlay, whose merged view is wanted. `plain`: one
 * directory that is taken as it is. `upper`: one layer that stays a layer, with its whiteouts and
 * opaque marks.
 */
export type DirectoryKind = 'overlay' | 'plain' | 'upper';

/**
 * Tells whether an extended attribute of a directory's file belongs into the image. Overlayfs' own
 * marks describe the layers, not the file. An SELinux label is the host's policy: the guest has none.
 * @throws SquibError `unimplemented` for a mark that would have to be followed.
 */
export function belongsIntoImage(name: string, kind: DirectoryKind, namespace: OverlayNamespace): boolean {
  if (name === 'security.selinux') return false;
  const prefix = `${namespace}.overlay.`;
  if (kind === 'plain' || !name.startsWith(prefix)) return true;
  const mark = name.slice(prefix.length);
  if (UNSUPPORTED.includes(mark)) {
    throw new SquibError(
      'unimplemented',
      `extended attribute ${name}: the layer was written by an overlay mount with redirect_dir, metacopy or xwhiteouts;` +
        ' expected plain layers as containerd unpacks them',
    );
  }
  return kind === 'upper' && mark === 'opaque';
}
