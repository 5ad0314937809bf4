import { SquibError } from '../../base/errors.ts';
import { decimal } from './number.ts';

/** What extended headers say about the next entry; undefined: they do not say. */
export interface PaxRecords {
  path: string | undefined;
  linkPath: string | undefined;
  size: number | undefined;
  uid: number | undefined;
  gid: number | undefined;
  mtimeSeconds: number | undefined;
  mtimeNanos: number;
  /** Full names, from SCHILY.xattr.*. */
  xattrs: Map<string, Uint8Array> | undefined;
  /** SCHILY.acl.access and .default, as text. */
  accessAcl: string | undefined;
  defaultAcl: string | undefined;
  /** GNU.sparse.major: 0 for the two older forms; undefined: not sparse. */
  sparseMajor: number | undefined;
  sparseName: string | undefined;
  /** The file's length: GNU.sparse.size or .realsize. */
  sparseSize: number | undefined;
  /** offset, length, offset, length, … of forms 0.0 and 0.1. */
  sparseMap: number[] | undefined;
}

export function emptyPaxRecords(): PaxRecords {
  return {
    path: undefined,
    linkPath: undefined,
    size: undefined,
    uid: undefined,
    gid: undefined,
    mtimeSeconds: undefined,
    mtimeNanos: 0,
    xattrs: undefined,
    accessAcl: undefined,
    defaultAcl: undefined,
    sparseMajor: undefined,
    sparseName: undefined,
    sparseSize: undefined,
    sparseMap: undefined,
  };
}

/** More digits than any length of a record within the limit of headers has. */
const LENGTH_DIGITS_MAX = 8;

const XATTR = 'SCHILY.xattr.';

/**
 * Reads a pax header's records, "<length> <key>=<value>\n" each, the length counting all of it,
 * into `into`. A later record replaces an earlier one; an empty value takes it back. Unknown keys
 * are ignored, as POSIX wants it.
 * @throws SquibError invalid-argument on a malformed record or value, with the record's offset in the header.
 */
export function readPaxRecords(bytes: Buffer, from: number, end: number, into: PaxRecords): void {
  let at = from;
  while (at < end) {
    let i = at;
    let length = 0;
    for (; i < end && i - at < LENGTH_DIGITS_MAX; i++) {
      const digit = (bytes[i] as number) - 0x30;
      if (digit < 0 || digit > 9) break;
      length = length * 10 + digit;
    }
    const stop = at + length - 1;
    if (i === at || bytes[i] !== 0x20 || stop <= i || stop >= end || bytes[stop] !== 0x0a) {
      // Some writers fill up with NULs.
      if (bytes[at] === 0 && allZero(bytes, at, end)) return;
      throw malformed(at - from, 'its length does not lead to its end');
    }
    const key = i + 1;
    const equals = bytes.indexOf(0x3d, key);
    if (equals < key + 1 || equals >= stop) throw malformed(at - from, 'it has no key');
    record(bytes, key, equals, stop, into);
    at = stop + 1;
  }
}

function allZero(bytes: Buffer, at: number, end: number): boolean {
  for (let i = at; i < end; i++) if (bytes[i] !== 0) return false;
  return true;
}

const malformed = (at: number, reason: string): SquibError =>
  new SquibError('invalid-argument', `pax record at byte ${at} of its header is malformed: ${reason}`);

function record(bytes: Buffer, key: number, equals: number, stop: number, into: PaxRecords): void {
  const first = bytes[key];
  const length = equals - key;
  // atime and ctime come with nearly every entry that GNU tar writes; neither is kept.
  if (length === 5 && (first === 0x61 || first === 0x63)) return;
  const value = equals + 1;
  const empty = value === stop;
  const name = bytes.toString('latin1', key, equals);
  switch (name) {
    case 'mtime':
      if (empty) into.mtimeSeconds = undefined;
      else readTime(bytes, value, stop, into);
      return;
    case 'path':
      into.path = empty ? undefined : pathOf(bytes, value, stop, name);
      return;
    case 'linkpath':
      into.linkPath = empty ? undefined : pathOf(bytes, value, stop, name);
      return;
    case 'size':
    case 'uid':
    case 'gid':
      into[name] = empty ? undefined : decimal(bytes, value, stop, `pax ${name}`);
      return;
    case 'SCHILY.acl.access':
      into.accessAcl = empty ? undefined : bytes.toString('latin1', value, stop);
      return;
    case 'SCHILY.acl.default':
      into.defaultAcl = empty ? undefined : bytes.toString('latin1', value, stop);
      return;
  }
  if (name.startsWith(XATTR)) xattr(name.slice(XATTR.length), bytes, value, stop, into);
  else if (name.startsWith('GNU.sparse.')) sparse(name, bytes, value, stop, into);
}

function pathOf(bytes: Buffer, at: number, end: number, key: string): string {
  const zero = bytes.indexOf(0, at);
  if (zero !== -1 && zero < end) throw new SquibError('invalid-argument', `pax ${key} holds a NUL`);
  return bytes.toString('latin1', at, end);
}

function xattr(name: string, bytes: Buffer, at: number, end: number, into: PaxRecords): void {
  if (name.includes('\0'))
    throw new SquibError('invalid-argument', 'name of an extended attribute holds a NUL');
  // What overlayfs notes on a host must not speak to the overlayfs of a guest.
  if (name.startsWith('trusted.overlay.')) return;
  into.xattrs ??= new Map();
  into.xattrs.set(name, Uint8Array.prototype.slice.call(bytes, at, end));
}

/** Seconds, perhaps negative, perhaps with a fraction; digits beyond the ninth are dropped. */
function readTime(bytes: Buffer, at: number, end: number, into: PaxRecords): void {
  const negative = bytes[at] === 0x2d;
  const from = negative ? at + 1 : at;
  let dot = from;
  while (dot < end && bytes[dot] !== 0x2e) dot++;
  const seconds = decimal(bytes, from, dot, 'pax mtime');
  let nanos = 0;
  if (dot + 1 < end) {
    const digits = Math.min(end - dot - 1, 9);
    nanos = decimal(bytes, dot + 1, dot + 1 + digits, 'pax mtime') * 10 ** (9 - digits);
    for (let i = dot + 10; i < end; i++) decimal(bytes, i, i + 1, 'pax mtime');
  }
  // -1.25 is two seconds before 1970 and three quarters on.
  const borrow = negative && nanos > 0 ? 1 : 0;
  into.mtimeSeconds = negative ? -seconds - borrow : seconds;
  into.mtimeNanos = borrow === 1 ? 1e9 - nanos : nanos;
}

/** GNU.sparse.*: 0.0 repeats offset and numbytes, 0.1 has a map, 1.0 has its map before the data. */
function sparse(name: string, bytes: Buffer, at: number, end: number, into: PaxRecords): void {
  const number = () => decimal(bytes, at, end, `pax ${name}`);
  switch (name.slice('GNU.sparse.'.length)) {
    case 'major':
      into.sparseMajor = number();
      return;
    case 'name':
      into.sparseName = pathOf(bytes, at, end, name);
      return;
    case 'realsize':
      into.sparseSize = number();
      return;
    case 'size':
      into.sparseSize = number();
      into.sparseMajor ??= 0;
      return;
    case 'numblocks':
      into.sparseMap = [];
      return;
    case 'offset':
    case 'numbytes':
      into.sparseMap ??= [];
      into.sparseMap.push(number());
      return;
    case 'map': {
      const map: number[] = [];
      for (let from = at; from < end; ) {
        let comma = from;
        while (comma < end && bytes[comma] !== 0x2c) comma++;
        map.push(decimal(bytes, from, comma, `pax ${name}`));
        from = comma + 1;
      }
      into.sparseMap = map;
    }
  }
}
