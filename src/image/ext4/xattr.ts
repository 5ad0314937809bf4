/** Extended attributes, in an inode's body and in blocks of their own (docs/protocol/ext4.md). */
import { SquibError } from '../../base/errors.ts';
import { aclFromDisk, aclToDisk } from './posix-acl.ts';

export const XATTR_MAGIC = 0xea02_0000;
/** In the body only the magic comes before the entries. */
export const XATTR_BODY_HEADER_BYTES = 4;
export const XATTR_BLOCK_HEADER_BYTES = 32;
/** Inodes that may share one block; the kernel makes a copy beyond. */
export const XATTR_REFERENCES_MAX = 1024;
/** Four zero bytes behind the last entry. */
export const XATTR_END_BYTES = 4;
const ENTRY_BYTES = 16;

/** The entry that holds what of a small file does not fit into i_block. */
const INLINE_DATA: XattrName = { index: 7, name: 'data' };

interface XattrName {
  /** Stands for the name's prefix. */
  readonly index: number;
  /** The name behind its prefix, latin1. */
  readonly name: string;
}

/** One attribute as ext4 stores it. */
export interface XattrEntry extends XattrName {
  readonly value: Uint8Array;
}

/** Longer ones first: an ACL's whole name is its prefix. */
const PREFIXES: readonly (readonly [prefix: string, index: number])[] = [
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['user.', 1],
  ['trusted.', 4],
  ['security.', 6],
];

export function inlineDataEntry(value: Uint8Array): XattrEntry {
  return { ...INLINE_DATA, value };
}

export function isInlineData(entry: XattrEntry): boolean {
  return entry.index === INLINE_DATA.index && entry.name === INLINE_DATA.name;
}

/**
 * An attribute of getxattr(2) as ext4 stores it; an ACL changes its form.
 * @throws SquibError `unimplemented` for a name outside of user, trusted, security and the ACLs.
 */
export function toXattrEntry(name: string, value: Uint8Array): XattrEntry {
  for (const [prefix, index] of PREFIXES) {
    const rest = name.slice(prefix.length);
    const isAcl = index === 2 || index === 3;
    if (!name.startsWith(prefix) || (rest === '') !== isAcl) continue;
    return { index, name: rest, value: isAcl ? aclToDisk(value) : value };
  }
  throw new SquibError(
    'unimplemented',
    `extended attribute "${name}": ext4 has user.*, trusted.*, security.* and the two POSIX ACLs`,
  );
}

/** The reverse; undefined for a prefix that is unknown, and for inline data. */
export function fromXattrEntry(entry: XattrEntry): { name: string; value: Uint8Array } | undefined {
  const prefix = PREFIXES.find(([, index]) => index === entry.index)?.[0];
  if (prefix === undefined) return undefined;
  const isAcl = entry.index === 2 || entry.index === 3;
  return { name: prefix + entry.name, value: isAcl ? aclFromDisk(entry.value) : entry.value };
}

/** The order that blocks must have: by index, length of the name, name. */
export function compareXattrs(a: XattrEntry, b: XattrEntry): number {
  return (
    a.index - b.index || a.name.length - b.name.length || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
  );
}

/** Space that an entry takes, its value included. */
export function xattrBytes(entry: XattrEntry): number {
  return pad4(ENTRY_BYTES + entry.name.length) + pad4(entry.value.length);
}

/**
 * Writes the magic and the entries into an inode's body.
 * @param area from behind the extra fields to the inode's end, of zeroes; the entries must fit.
 */
export function encodeXattrBody(entries: readonly XattrEntry[], area: Uint8Array): void {
  viewOf(area).setUint32(0, XATTR_MAGIC, true);
  // A hash of 0 is none: only blocks are found by theirs.
  encodeEntries(entries, area.subarray(XATTR_BODY_HEADER_BYTES), 0, () => 0);
}

/** A block of 4096 bytes. @param entries sorted by `compareXattrs`; they must fit. */
export function encodeXattrBlock(entries: readonly XattrEntry[], references: number): Uint8Array {
  const block = new Uint8Array(4096);
  const view = viewOf(block);
  view.setUint32(0, XATTR_MAGIC, true);
  view.setUint32(4, references, true);
  view.setUint32(8, 1, true);
  let hash = 0;
  for (const part of encodeEntries(entries, block, XATTR_BLOCK_HEADER_BYTES, entryHash))
    hash = (hash << 16) ^ (hash >>> 16) ^ part;
  view.setUint32(12, hash >>> 0, true);
  return block;
}

/** Entries forwards from `start`, values backwards from the end. @returns the entries' hashes. */
function encodeEntries(
  entries: readonly XattrEntry[],
  bytes: Uint8Array,
  start: number,
  hashOf: (name: Uint8Array, paddedValue: Uint8Array) => number,
): number[] {
  const view = viewOf(bytes);
  let at = start;
  let valueEnd = bytes.length;
  const hashes: number[] = [];
  for (const entry of entries) {
    const size = entry.value.length;
    const name = Buffer.from(entry.name, 'latin1');
    const valueAt = valueEnd - pad4(size);
    bytes.set(entry.value, valueAt);
    bytes[at] = name.length;
    bytes[at + 1] = entry.index;
    view.setUint16(at + 2, size === 0 ? 0 : valueAt, true);
    view.setUint32(at + 8, size, true);
    const hash = hashOf(name, bytes.subarray(valueAt, valueEnd));
    view.setUint32(at + 12, hash, true);
    bytes.set(name, at + ENTRY_BYTES);
    hashes.push(hash);
    at += pad4(ENTRY_BYTES + name.length);
    valueEnd = valueAt;
  }
  return hashes;
}

function entryHash(name: Uint8Array, paddedValue: Uint8Array): number {
  let hash = 0;
  for (const byte of name) hash = (hash << 5) ^ (hash >>> 27) ^ byte;
  const view = viewOf(paddedValue);
  for (let at = 0; at < paddedValue.length; at += 4)
    hash = (hash << 16) ^ (hash >>> 16) ^ view.getUint32(at, true);
  return hash >>> 0;
}

/**
 * The entries of an inode's body; none if there is no magic.
 * @param area from behind the extra fields to the inode's end.
 * @throws SquibError as `decodeXattrBlock`.
 */
export function decodeXattrBody(area: Uint8Array): XattrEntry[] {
  if (area.length < XATTR_BODY_HEADER_BYTES || viewOf(area).getUint32(0, true) !== XATTR_MAGIC) return [];
  return decodeEntries(area.subarray(XATTR_BODY_HEADER_BYTES), 0);
}

/**
 * @throws SquibError `data-loss` for a wrong magic, entries or values outside of the bytes;
 *   `unimplemented` for a value in an inode of its own.
 */
export function decodeXattrBlock(block: Uint8Array): XattrEntry[] {
  const magic = block.length >= XATTR_BLOCK_HEADER_BYTES ? viewOf(block).getUint32(0, true) : 0;
  if (magic !== XATTR_MAGIC)
    throw new SquibError(
      'data-loss',
      `attribute block with magic 0x${magic.toString(16)}; expected 0xea020000`,
    );
  return decodeEntries(block, XATTR_BLOCK_HEADER_BYTES);
}

function decodeEntries(bytes: Uint8Array, start: number): XattrEntry[] {
  const view = viewOf(bytes);
  const entries: XattrEntry[] = [];
  for (let at = start; at + 4 <= bytes.length && view.getUint32(at, true) !== 0; ) {
    const nameEnd = at + ENTRY_BYTES + (bytes[at] as number);
    const fits = nameEnd <= bytes.length;
    const valueAt = fits ? view.getUint16(at + 2, true) : 0;
    const size = fits ? view.getUint32(at + 8, true) : 0;
    if (!fits || (size > 0 && valueAt + size > bytes.length))
      throw new SquibError(
        'data-loss',
        `attribute entry at ${at}: name to ${nameEnd}, value at ${valueAt} of ${size} bytes, in ${bytes.length}`,
      );
    if (view.getUint32(at + 4, true) !== 0)
      throw new SquibError('unimplemented', `attribute entry at ${at} has its value in an inode (ea_inode)`);
    const name = Buffer.from(bytes.subarray(at + ENTRY_BYTES, nameEnd)).toString('latin1');
    entries.push({ index: bytes[at + 1] as number, name, value: bytes.slice(valueAt, valueAt + size) });
    at = pad4(nameEnd);
  }
  return entries;
}

function pad4(bytes: number): number {
  return (bytes + 3) & ~3;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
