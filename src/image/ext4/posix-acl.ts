/**
 * POSIX ACLs in their two forms: that of getxattr(2) (version 2, 8 bytes per entry) and ext4's own
 * (version 1, 4 bytes for entries without an id). The kernel answers EINVAL to the wrong one.
 */
import { SquibError } from '../../base/errors.ts';

const API_VERSION = 2;
const DISK_VERSION = 1;
const API_ENTRY_BYTES = 8;
/** USER and GROUP name an id; USER_OBJ 1, GROUP_OBJ 4, MASK 16 and OTHER 32 do not. */
const TAGS_WITH_ID = new Set([2, 8]);
const TAGS = new Set([1, 2, 4, 8, 16, 32]);
const NO_ID = 0xffff_ffff;

/** @throws SquibError `invalid-argument` for what is no ACL in the form of getxattr(2). */
export function aclToDisk(api: Uint8Array): Uint8Array {
  const view = viewOf(api);
  if (api.length < 4 || (api.length - 4) % API_ENTRY_BYTES !== 0 || view.getUint32(0, true) !== API_VERSION)
    throw new SquibError(
      'invalid-argument',
      `an ACL of ${api.length} bytes is not in the form of getxattr(2)`,
    );
  const out = new Uint8Array(api.length);
  const to = viewOf(out);
  to.setUint32(0, DISK_VERSION, true);
  let end = 4;
  for (let at = 4; at < api.length; at += API_ENTRY_BYTES) {
    const tag = checkTag(view.getUint16(at, true));
    to.setUint16(end, tag, true);
    to.setUint16(end + 2, view.getUint16(at + 2, true), true);
    if (TAGS_WITH_ID.has(tag)) to.setUint32(end + 4, view.getUint32(at + 4, true), true);
    end += TAGS_WITH_ID.has(tag) ? 8 : 4;
  }
  return out.subarray(0, end);
}

/** @throws SquibError `invalid-argument` for what is no ACL in ext4's form. */
export function aclFromDisk(disk: Uint8Array): Uint8Array {
  const view = viewOf(disk);
  if (disk.length < 4 || view.getUint32(0, true) !== DISK_VERSION)
    throw new SquibError('invalid-argument', `an ACL of ${disk.length} bytes is not in ext4's form`);
  const out = new Uint8Array(4 + (disk.length >> 2) * API_ENTRY_BYTES);
  const to = viewOf(out);
  to.setUint32(0, API_VERSION, true);
  let end = 4;
  for (let at = 4; at < disk.length; end += API_ENTRY_BYTES) {
    const tag = at + 4 <= disk.length ? checkTag(view.getUint16(at, true)) : 0;
    const length = TAGS_WITH_ID.has(tag) ? 8 : 4;
    if (at + length > disk.length)
      throw new SquibError(
        'invalid-argument',
        `an ACL of ${disk.length} bytes ends within its entry at ${at}`,
      );
    to.setUint16(end, tag, true);
    to.setUint16(end + 2, view.getUint16(at + 2, true), true);
    to.setUint32(end + 4, length === 8 ? view.getUint32(at + 4, true) : NO_ID, true);
    at += length;
  }
  return out.subarray(0, end);
}

function checkTag(tag: number): number {
  if (TAGS.has(tag)) return tag;
  throw new SquibError('invalid-argument', `an ACL entry has tag ${tag}; known are 1, 2, 4, 8, 16 and 32`);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
