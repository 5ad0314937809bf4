import { SquibError } from '../../base/errors.ts';
import type { Inode } from '../ext4/read/inode.ts';
import type { Ext4Reader } from '../ext4/reader.ts';

const OVERLAY = 'trusted.overlay.';
const OPAQUE = `${OVERLAY}opaque`;
/** Marks for features that the guest's overlay has off: content or names would be in another place. */
const REFUSED = [`${OVERLAY}redirect`, `${OVERLAY}metacopy`];
/** A label of a policy that is the host's or the guest's own, never the image's. */
const NOT_EXPORTED = 'security.selinux';

/** What an overlay's upper directory says at one name. */
export interface LayerNode {
  /** Deletes what lies below under this name. */
  readonly isWhiteout: boolean;
  /** A directory that hides everything below it. */
  readonly isOpaque: boolean;
  /** Without overlayfs' own. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

/**
 * Reads overlayfs' marks on an inode.
 * @param path for errors.
 * @throws SquibError `unimplemented` for a redirect or a file whose content stayed below.
 */
export function layerNode(reader: Ext4Reader, inode: Inode, path: string): LayerNode {
  if (isWhiteout(inode)) return { isWhiteout: true, isOpaque: false, xattrs: new Map() };
  const xattrs = new Map(reader.xattrs(inode));
  for (const name of REFUSED) {
    if (xattrs.has(name))
      throw new SquibError(
        'unimplemented',
        `"${path}" has the attribute ${name}: the overlay was mounted with redirect_dir or metacopy`,
      );
  }
  const isOpaque = inode.type === 'directory' && Buffer.from(xattrs.get(OPAQUE) ?? []).toString() === 'y';
  for (const name of xattrs.keys())
    if (name.startsWith(OVERLAY) || name === NOT_EXPORTED) xattrs.delete(name);
  return { isWhiteout: false, isOpaque, xattrs };
}

/** The mark of a deletion: a character device 0:0. Many names may share one. */
export function isWhiteout(inode: Inode): boolean {
  return inode.type === 'character' && inode.rdevMajor === 0 && inode.rdevMinor === 0;
}
