import { SquibError } from '../../base/errors.ts';

/** Headers, and everything else in a tar, come in blocks of this size. */
export const BLOCK_BYTES = 512;
/** Readers of pax records have limits of their own: Go's takes 1 MiB. */
const RECORDS_BYTES_MAX = 1 << 20;

export type TarType = 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

const TYPE_FLAGS: Readonly<Record<TarType, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** One entry; names are raw bytes as latin1. */
export interface TarEntry {
  readonly path: string;
  readonly type: TarType;
  readonly permissions: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow in the archive. */
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanos: number;
  /** Of links and symlinks. */
  readonly linkPath?: string;
  readonly rdevMajor?: number;
  readonly rdevMinor?: number;
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
  /** Further pax records, in their order: those of sparse files. */
  readonly records?: readonly (readonly [string, string])[];
}

/** What fits into eight and twelve bytes of octal digits with a zero behind. */
const OCTAL7_MAX = 0o7777777;
const OCTAL11_MAX = 0o77777777777;
const NAME_BYTES = 100;

/**
 * The header blocks of an entry: one of ustar, before it an extended header of pax where ustar has
 * no room for a value. Same entry, same bytes.
 * @throws SquibError `unimplemented` for attributes that no extended header can hold.
 */
export function tarHeader(entry: TarEntry): Uint8Array {
  const records = paxRecords(entry);
  const header = ustarHeader(entry, TYPE_FLAGS[entry.type], entry.size);
  if (records.length === 0) return header;
  if (records.length > RECORDS_BYTES_MAX)
    throw new SquibError(
      'unimplemented',
      `"${entry.path}": its attributes take ${records.length} bytes of pax records, at most ${RECORDS_BYTES_MAX}`,
    );
  const named = {
    ...entry,
    path: `PaxHeaders.0/${entry.path.split('/').at(-1) || entry.path.slice(-NAME_BYTES)}`,
  };
  const bytes = Buffer.alloc(BLOCK_BYTES + padded(records.length) + BLOCK_BYTES);
  bytes.set(ustarHeader({ ...named, linkPath: '', permissions: 0o644 }, 'x', records.length));
  bytes.set(records, BLOCK_BYTES);
  bytes.set(header, bytes.length - BLOCK_BYTES);
  return bytes;
}

/** A length rounded up to whole blocks. */
export function padded(length: number): number {
  return Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES;
}

function ustarHeader(entry: TarEntry, flag: string, size: number): Uint8Array {
  const header = Buffer.alloc(BLOCK_BYTES);
  const text = (at: number, value: string) => header.write(value, at, 'latin1');
  const octal = (at: number, length: number, value: number, max: number) => {
    const fits = value >= 0 && value <= max ? value : 0;
    text(at, fits.toString(8).padStart(length - 1, '0'));
  };
  text(0, entry.path.slice(0, NAME_BYTES));
  octal(100, 8, entry.permissions, OCTAL7_MAX);
  octal(108, 8, entry.uid, OCTAL7_MAX);
  octal(116, 8, entry.gid, OCTAL7_MAX);
  octal(124, 12, size, OCTAL11_MAX);
  octal(136, 12, entry.mtimeSeconds, OCTAL11_MAX);
  text(156, flag);
  text(157, (entry.linkPath ?? '').slice(0, NAME_BYTES));
  text(257, 'ustar\x0000');
  octal(329, 8, entry.rdevMajor ?? 0, OCTAL7_MAX);
  octal(337, 8, entry.rdevMinor ?? 0, OCTAL7_MAX);
  // The sum counts its own field as spaces.
  header.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of header) sum += byte;
  text(148, `${sum.toString(8).padStart(6, '0')}\0 `);
  return header;
}

const XATTR_PREFIX = 'SCHILY.xattr.';

function paxRecords(entry: TarEntry): Buffer {
  const records: Buffer[] = [];
  const add = (key: string, value: string | Uint8Array) => records.push(paxRecord(key, value));
  const { path, linkPath = '', uid, gid, size, mtimeSeconds, mtimeNanos, xattrs } = entry;
  if (mtimeNanos !== 0 || mtimeSeconds < 0 || mtimeSeconds > OCTAL11_MAX)
    add('mtime', decimalTime(mtimeSeconds, mtimeNanos));
  if (uid > OCTAL7_MAX) add('uid', `${uid}`);
  if (gid > OCTAL7_MAX) add('gid', `${gid}`);
  if (size > OCTAL11_MAX) add('size', `${size}`);
  if (path.length > NAME_BYTES) add('path', path);
  if (linkPath.length > NAME_BYTES) add('linkpath', linkPath);
  for (const [key, value] of entry.records ?? []) add(key, value);
  const names = [...(xattrs?.keys() ?? [])].sort((a, b) => (a < b ? -1 : 1));
  for (const name of names) {
    // A record's key ends at the first "=".
    if (name.includes('='))
      throw new SquibError('unimplemented', `"${path}": attribute "${name}" has "=" in its name`);
    add(XATTR_PREFIX + name, xattrs?.get(name) as Uint8Array);
  }
  return Buffer.concat(records);
}

/** "length key=value\n", the length counting itself. */
function paxRecord(key: string, value: string | Uint8Array): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  const rest = key.length + bytes.length + 3;
  let length = rest + `${rest}`.length;
  if (`${length}`.length > `${rest}`.length) length = rest + `${length}`.length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`, 'latin1'), bytes, Buffer.from('\n')]);
}

/** Nanoseconds count forward, also before 1970: -1.5 s is second -2 and half a second more. */
function decimalTime(seconds: number, nanos: number): string {
  const isBorrowed = seconds < 0 && nanos > 0;
  const whole = isBorrowed ? -(seconds + 1) : Math.abs(seconds);
  const fraction = isBorrowed ? 1_000_000_000 - nanos : nanos;
  const digits = fraction === 0 ? '' : `.${`${fraction}`.padStart(9, '0').replace(/0+$/, '')}`;
  return `${seconds < 0 ? '-' : ''}${whole}${digits}`;
}
