/** What an archive can put under a name. `link` is a hard link. */
export type EntryKind = 'file' | 'directory' | 'symlink' | 'link' | 'character' | 'block' | 'fifo';

/**
 * One entry, its extended headers worked in. Names are latin1 strings: each character is a byte.
 * The object is valid during the call that hands it over; the next entry reuses it.
 */
export interface TarEntry {
  readonly kind: EntryKind;
  /** As in the archive: may be absolute, hold `.`, `..` and slashes at its end. No NUL, not empty. */
  readonly path: string;
  /** A symlink's target, or the path of the entry that a hard link leads to. */
  readonly linkPath: string;
  /** Permissions with the set-id and sticky bits, 07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** A file's length, holes included; 0 for everything else. */
  readonly size: number;
  /** Since 1970, may be negative; the nanoseconds never are. */
  readonly mtimeSeconds: number;
  readonly mtimeNanos: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** Full names; ACLs as the kernel's interface has them. */
  readonly xattrs: ReadonlyMap<string, Uint8Array> | undefined;
  /** Byte of the stream at which the entry's first header, extended ones included, begins. */
  readonly offset: number;
}

/** Takes what a scanner finds. Of one entry: `entry`, then `data` and `hole` in any order, then `end`. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** A file's content, in order; the bytes are valid only during the call. */
  data(bytes: Uint8Array): void;
  /** As many zero bytes of a file's content. */
  hole(bytes: number): void;
  end(): void;
}
