import { corrupt } from './corrupt.ts';
import type { Geometry } from './geometry.ts';
import type { ImageFile } from './image-file.ts';
import type { Inode } from './inode.ts';

const MAGIC = 0xea020000;
const ENTRY_BYTES = 16;
const BLOCK_HEADER_BYTES = 32;
const INODE_HEADER_BYTES = 4;

/** e_name_index. */
const PREFIXES: Readonly<Record<number, string>> = {
  1: 'user.',
  2: 'system.posix_acl_access',
  3: 'system.posix_acl_default',
  4: 'trusted.',
  6: 'security.',
  7: 'system.',
  8: 'system.richacl',
};
/** Content of a file with inline data beyond its first 60 bytes; not an attribute that anybody set. */
const INLINE_DATA = 'system.data';
const ACL_PREFIX = 'system.posix_acl_';

/** All stored attributes of an inode: those that were set, and the one that is file content. */
export interface StoredXattrs {
  /** By full name as latin1; ACLs in the form of getxattr(2). */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  readonly inlineData: Uint8Array | undefined;
}

/**
 * Reads the attributes in the inode and in its block. At most one inode and one block are looked
 * at, so there are at most some hundred of them.
 * @throws SquibError `data-loss`.
 */
export function readXattrs(image: ImageFile, geometry: Geometry, inode: Inode): StoredXattrs {
  const found = new Map<string, Uint8Array>();
  const { rest, number } = inode;
  if (rest.length >= INODE_HEADER_BYTES + 4 && word(rest, 0) === MAGIC)
    collect(number, rest.subarray(INODE_HEADER_BYTES), 0, found);
  if (inode.xattrBlock !== 0) {
    const { xattrBlock } = inode;
    if (!(xattrBlock > geometry.firstDataBlock && xattrBlock < geometry.blocks))
      throw corrupt(
        `inode ${number}: attribute block ${xattrBlock}; the image has ${geometry.blocks} blocks`,
      );
    const block = image.view(xattrBlock * geometry.blockSize, geometry.blockSize).slice();
    if (word(block, 0) !== MAGIC || word(block, 8) !== 1)
      throw corrupt(`inode ${number}: block ${xattrBlock} is no attribute block`);
    collect(number, block, BLOCK_HEADER_BYTES, found);
  }
  const inlineData = found.get(INLINE_DATA);
  found.delete(INLINE_DATA);
  return { xattrs: found, inlineData };
}

/** @param area value offsets count from its start. @param first where the entries start. */
function collect(number: number, area: Uint8Array, first: number, found: Map<string, Uint8Array>): void {
  const view = new DataView(area.buffer, area.byteOffset, area.length);
  for (let at = first; ; ) {
    // Four zero bytes end the list; it may also end with the area.
    if (at + 4 > area.length || view.getUint32(at, true) === 0) return;
    if (at + ENTRY_BYTES > area.length) throw corrupt(`inode ${number}: an attribute entry is cut at ${at}`);
    const nameLength = view.getUint8(at);
    const index = view.getUint8(at + 1);
    const offset = view.getUint16(at + 2, true);
    const valueInode = view.getUint32(at + 4, true);
    const size = view.getUint32(at + 8, true);
    const nameEnd = at + ENTRY_BYTES + nameLength;
    const prefix = PREFIXES[index];
    if (prefix === undefined) throw corrupt(`inode ${number}: attribute name index ${index} is unknown`);
    if (valueInode !== 0)
      throw corrupt(`inode ${number}: attribute values in inodes (ea_inode) are not supported`);
    if (nameEnd > area.length || (size > 0 && offset + size > area.length))
      throw corrupt(
        `inode ${number}: attribute at ${at} with value ${offset}+${size} leaves its ${area.length} bytes`,
      );
    const suffix = Buffer.from(area.subarray(at + ENTRY_BYTES, nameEnd)).toString('latin1');
    if (suffix.includes('\0')) throw corrupt(`inode ${number}: an attribute name holds a zero byte`);
    const name = prefix + suffix;
    const value = size === 0 ? new Uint8Array() : area.slice(offset, offset + size);
    if (!found.has(name)) found.set(name, name.startsWith(ACL_PREFIX) ? aclFromDisk(number, value) : value);
    at = (nameEnd + 3) & ~3;
  }
}

const ACL_DISK_VERSION = 1;
const ACL_API_VERSION = 2;
const ACL_USER = 2;
const ACL_GROUP = 8;
const ACL_NO_ID = 0xffffffff;
/** user_obj, group_obj, mask, other: no id follows on disk. */
const ACL_TAGS_WITHOUT_ID: readonly number[] = [1, 4, 16, 32];

/** On disk an entry without an id has four bytes; in getxattr's form all have eight. */
function aclFromDisk(number: number, disk: Uint8Array): Uint8Array {
  const view = new DataView(disk.buffer, disk.byteOffset, disk.length);
  if (disk.length < 4 || view.getUint32(0, true) !== ACL_DISK_VERSION)
    throw corrupt(`inode ${number}: an ACL of ${disk.length} bytes without version 1`);
  const entries: { tag: number; permissions: number; id: number }[] = [];
  for (let at = 4; at < disk.length; ) {
    if (at + 4 > disk.length) throw corrupt(`inode ${number}: an ACL entry is cut at ${at}`);
    const tag = view.getUint16(at, true);
    const permissions = view.getUint16(at + 2, true);
    at += 4;
    let id = ACL_NO_ID;
    if (tag === ACL_USER || tag === ACL_GROUP) {
      if (at + 4 > disk.length) throw corrupt(`inode ${number}: an ACL entry is cut at ${at}`);
      id = view.getUint32(at, true);
      at += 4;
    } else if (!ACL_TAGS_WITHOUT_ID.includes(tag)) {
      throw corrupt(`inode ${number}: ACL tag ${tag} is unknown`);
    }
    entries.push({ tag, permissions, id });
  }
  const api = new DataView(new ArrayBuffer(4 + 8 * entries.length));
  api.setUint32(0, ACL_API_VERSION, true);
  entries.forEach(({ tag, permissions, id }, i) => {
    api.setUint16(4 + 8 * i, tag, true);
    api.setUint16(6 + 8 * i, permissions, true);
    api.setUint32(8 + 8 * i, id, true);
  });
  return new Uint8Array(api.buffer);
}

function word(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(at, true);
}
