import { SquibError } from '../base/errors.ts';

/** One of the mounts that containerd hands to Create (containerd.types.Mount). */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** What a container's root file system is made of, whatever snapshotter it came from. */
export type RootfsSource =
  | {
      /** The overlay snapshotter's: read-only directories, top-most first, and the writable one. */
      readonly kind: 'overlay';
      readonly lowerDirs: readonly string[];
      readonly upperDir: string | undefined;
      /** Where overlayfs keeps its marks: `user` in the snapshots of a rootless containerd (userxattr). */
      readonly namespace: 'trusted' | 'user';
    }
  | {
      /** One directory that is the whole root (native snapshotter, `ctr run --rootfs`). */
      readonly kind: 'directory';
      readonly dir: string;
      readonly isReadOnly: boolean;
    }
  | {
      /** A ready ext4 image or device (blockfile, devmapper): never parsed by the host. */
      readonly kind: 'image';
      readonly path: string;
    };

/**
 * Reads containerd's mount list.
 * @throws SquibError `unimplemented` for a mount type or a combination that no known snapshotter
 *   makes, `invalid-argument` for one of a known type that is incomplete.
 */
export function rootfsSource(mounts: readonly RootfsMount[]): RootfsSource {
  const [mount, ...rest] = mounts;
  if (!mount)
    throw new SquibError('invalid-argument', 'the container has no rootfs: the list of mounts is empty');
  if (rest.length > 0) {
    const types = mounts.map((m) => m.type).join(', ');
    throw new SquibError(
      'unimplemented',
      `rootfs of ${mounts.length} mounts (${types}); one of type overlay, bind or ext4 is supported`,
    );
  }
  switch (mount.type) {
    case 'overlay':
      return overlaySource(mount);
    case 'bind':
    case 'rbind':
      return {
        kind: 'directory',
        dir: absolute(mount.source, 'bind source'),
        isReadOnly: mount.options.includes('ro'),
      };
    case 'ext4':
      return { kind: 'image', path: absolute(mount.source, 'ext4 source') };
    default:
      throw new SquibError(
        'unimplemented',
        `rootfs mount type "${mount.type}" (source "${mount.source}"); expected overlay, bind or ext4: choose another snapshotter`,
      );
  }
}

function overlaySource(mount: RootfsMount): RootfsSource {
  let lowerDirs: string[] = [];
  let upperDir: string | undefined;
  for (const option of mount.options) {
    if (option.startsWith('lowerdir=')) lowerDirs = splitOverlayList(option.slice('lowerdir='.length));
    else if (option.startsWith('upperdir=')) upperDir = unescapeOverlay(option.slice('upperdir='.length));
  }
  if (lowerDirs.length === 0) {
    throw new SquibError(
      'invalid-argument',
      `overlay rootfs without lowerdir: options "${mount.options.join(',')}"`,
    );
  }
  for (const dir of lowerDirs) absolute(dir, 'overlay lowerdir');
  return {
    kind: 'overlay',
    lowerDirs,
    upperDir: upperDir === undefined ? undefined : absolute(upperDir, 'overlay upperdir'),
    namespace: mount.options.includes('userxattr') ? 'user' : 'trusted',
  };
}

/** Splits overlayfs' colon list, in which a backslash makes the next character literal. */
function splitOverlayList(list: string): string[] {
  const parts = list.match(/(?:\\.|[^:\\])+/g) ?? [];
  return parts.map(unescapeOverlay);
}

function unescapeOverlay(path: string): string {
  return path.replace(/\\(.)/g, '$1');
}

function absolute(path: string, what: string): string {
  if (!path.startsWith('/'))
    throw new SquibError('invalid-argument', `${what} "${path}" is not an absolute path`);
  return path;
}
