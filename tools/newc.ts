/**
 * The "newc" cpio format (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel): what
 * the kernel unpacks as initramfs. Pure, and free of time, owner and inode of the machine it runs on.
 */

export interface NewcEntry {
  /** Without a leading slash, e.g. `dev/console`. A directory comes before what is in it. */
  readonly path: string;
  /** S_IF* and permissions. */
  readonly mode: number;
  readonly content?: Uint8Array;
  /** For device nodes. */
  readonly major?: number;
  readonly minor?: number;
}

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
/** Header and data are padded to this. */
const ALIGN_BYTES = 4;
const HEADER_BYTES = 110;
const S_IFDIR = 0o040000;
const S_IFMT = 0o170000;
/** A field holds eight hexadecimal digits. */
const FIELD_MAX = 0xffff_ffff;

/** The archive of these entries, in their order, all owned by root and dated 1970. */
export function newc(entries: readonly NewcEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, i) => {
    parts.push(...record(entry, i + 1));
  });
  parts.push(...record({ path: TRAILER, mode: 0 }, 0));
  return Buffer.concat(parts);
}

function record(entry: NewcEntry, inode: number): Uint8Array[] {
  const content = entry.content ?? new Uint8Array(0);
  const name = Buffer.from(`${entry.path}\0`);
  const links = (entry.mode & S_IFMT) === S_IFDIR ? 2 : 1;
  const device = [entry.major ?? 0, entry.minor ?? 0];
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, entry.mode, 0, 0, links, 0, content.length, 0, 0, ...device, name.length, 0];
  const header = Buffer.from(MAGIC + fields.map(hexField).join(''), 'latin1');
  return [header, name, padding(HEADER_BYTES + name.length), content, padding(content.length)];
}

function hexField(value: number): string {
  if (!Number.isInteger(value) || value < 0 || value > FIELD_MAX) {
    throw new RangeError(`newc: ${value} does not fit a header field of eight hexadecimal digits`);
  }
  return value.toString(16).padStart(8, '0').toUpperCase();
}

function padding(bytes: number): Uint8Array {
  return new Uint8Array((ALIGN_BYTES - (bytes % ALIGN_BYTES)) % ALIGN_BYTES);
}
