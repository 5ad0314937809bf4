import { SquibError } from '../../base/errors.ts';
import { aclFromText, aclMode } from './acl.ts';
import type { EntryKind, TarEntry } from './entry.ts';
import type { TarHeader } from './header.ts';
import type { PaxRecords } from './pax.ts';

export type MutableEntry = { -readonly [K in keyof TarEntry]: TarEntry[K] };

export function emptyEntry(): MutableEntry {
  return {
    kind: 'file',
    path: '',
    linkPath: '',
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    mtimeSeconds: 0,
    mtimeNanos: 0,
    rdevMajor: 0,
    rdevMinor: 0,
    xattrs: undefined,
    offset: 0,
  };
}

/** Everything that precedes an entry's data. Later members win: header, GNU long names, pax g, pax x. */
export interface Preamble {
  readonly header: TarHeader;
  readonly longPath: string | undefined;
  readonly longLink: string | undefined;
  readonly global: PaxRecords | undefined;
  /** Undefined: no pax x header came with this entry. */
  readonly own: PaxRecords | undefined;
}

/** ext4's 34 bits of seconds begin in 1901 and end in 2446; what lies outside is moved to the border. */
const SECONDS_MIN = -(2 ** 31);
const SECONDS_MAX = 2 ** 34 - 2 ** 31 - 1;
/** Linux's dev_t: 12 bits of major, 20 of minor. */
const MAJOR_MAX = 0xfff;
const MINOR_MAX = 0xfffff;
/** -1, all ones, means "no id" to the kernel. */
const ID_MAX = 0xfffffffe;

/** Fills `into`, but for its offset and size. @throws SquibError invalid-argument, unimplemented */
export function mergeEntry(parts: Preamble, into: MutableEntry): void {
  const { header, global, own } = parts;
  into.path = own?.sparseName ?? own?.path ?? global?.path ?? parts.longPath ?? header.path;
  if (into.path === '') throw new SquibError('invalid-argument', 'entry has no name');
  into.kind = kindOf(header.type, into.path);
  const linked = into.kind === 'symlink' || into.kind === 'link';
  into.linkPath = linked ? (own?.linkPath ?? global?.linkPath ?? parts.longLink ?? header.linkPath) : '';
  if (linked && into.linkPath === '') throw new SquibError('invalid-argument', 'link has no target');
  into.mode = header.mode & 0o7777;
  into.uid = idOf(own?.uid ?? global?.uid ?? header.uid, 'uid');
  into.gid = idOf(own?.gid ?? global?.gid ?? header.gid, 'gid');
  into.rdevMajor = header.rdevMajor;
  into.rdevMinor = header.rdevMinor;
  if (
    header.rdevMajor > MAJOR_MAX ||
    header.rdevMinor > MINOR_MAX ||
    header.rdevMajor < 0 ||
    header.rdevMinor < 0
  ) {
    throw new SquibError(
      'invalid-argument',
      `device ${header.rdevMajor}:${header.rdevMinor} exceeds Linux's ${MAJOR_MAX}:${MINOR_MAX}`,
    );
  }
  const timed =
    own?.mtimeSeconds !== undefined ? own : global?.mtimeSeconds !== undefined ? global : undefined;
  const seconds = timed?.mtimeSeconds ?? header.mtime;
  into.mtimeSeconds = Math.min(Math.max(seconds, SECONDS_MIN), SECONDS_MAX);
  into.mtimeNanos = seconds === into.mtimeSeconds ? (timed?.mtimeNanos ?? 0) : 0;
  into.xattrs = undefined;
  if (own !== undefined || global !== undefined) mergeXattrs(global, own, into);
}

function idOf(id: number, field: string): number {
  if (id >= 0 && id <= ID_MAX) return id;
  throw new SquibError('invalid-argument', `${field} ${id} is not within 0..${ID_MAX}`);
}

function kindOf(type: number, path: string): EntryKind {
  switch (type) {
    case 0x00:
    case 0x30:
    case 0x37:
    case 0x53:
      // v7 had no type for directories.
      return path.charCodeAt(path.length - 1) === 0x2f ? 'directory' : 'file';
    case 0x31:
      return 'link';
    case 0x32:
      return 'symlink';
    case 0x33:
      return 'character';
    case 0x34:
      return 'block';
    case 0x35:
    case 0x44:
      return 'directory';
    case 0x36:
      return 'fifo';
  }
  const shown = JSON.stringify(String.fromCharCode(type));
  throw new SquibError('unimplemented', `entry type ${shown} is not one that a file system can hold`);
}

const ACCESS_ACL = 'system.posix_acl_access';
const DEFAULT_ACL = 'system.posix_acl_default';

function mergeXattrs(global: PaxRecords | undefined, own: PaxRecords | undefined, into: MutableEntry): void {
  let all = own?.xattrs;
  if (global?.xattrs !== undefined) all = new Map([...global.xattrs, ...(all ?? [])]);
  const access = own?.accessAcl ?? global?.accessAcl;
  const fallback = own?.defaultAcl ?? global?.defaultAcl;
  if (access !== undefined || fallback !== undefined) {
    all ??= new Map();
    // GNU tar writes both forms when asked for both; the binary one has numbers for the names.
    addAcl(all, ACCESS_ACL, access);
    addAcl(all, DEFAULT_ACL, fallback);
  }
  const acl = all?.get(ACCESS_ACL);
  if (all !== undefined && acl !== undefined) applyAcl(acl, all, into);
  into.xattrs = all;
}

/** As extracting it would: libarchive, for one, stores a mode that does not regard the ACL's mask. */
function applyAcl(acl: Uint8Array, all: Map<string, Uint8Array>, into: MutableEntry): void {
  const mode = aclMode(acl);
  if (mode === undefined) return;
  into.mode = (into.mode & 0o7000) | mode.bits;
  if (!mode.says) all.delete(ACCESS_ACL);
}

function addAcl(all: Map<string, Uint8Array>, name: string, text: string | undefined): void {
  if (text !== undefined && text.trim() !== '' && !all.has(name)) all.set(name, aclFromText(text));
}
