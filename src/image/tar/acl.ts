import { SquibError } from '../../base/errors.ts';

const VERSION = 2;
const NO_ID = 0xffffffff;
/** Tags as the kernel numbers them; an entry is sorted by tag, then by id. */
const TAGS: Readonly<Record<string, { own: number; named: number }>> = {
  user: { own: 0x01, named: 0x02 },
  group: { own: 0x04, named: 0x08 },
  mask: { own: 0x10, named: 0 },
  other: { own: 0x20, named: 0 },
};
/** acl(5) sets no limit; ext4's block holds about 500. */
const ENTRIES_MAX = 1024;

/**
 * An ACL's text, as tar has it in SCHILY.acl.*, becomes the value of system.posix_acl_access or
 * _default as the kernel's interface has it: u32 version, then u16 tag, u16 permissions, u32 id
 * for each entry, little-endian.
 * Entries are parted by commas or line ends: `user::rwx`, `user:1000:r--`, star's `user:name:r--:1000`.
 * @throws SquibError invalid-argument; failed-precondition when a user is named without a number:
 *   whose names these are, an archive does not say.
 */
export function aclFromText(text: string): Uint8Array {
  const lines = text
    .split(/[,\n]/)
    .map((line) => line.replace(/#.*/, '').trim())
    .filter(Boolean);
  if (lines.length > ENTRIES_MAX)
    throw new SquibError('resource-exhausted', `ACL has ${lines.length} entries`);
  const entries = lines.map(entryOf).sort((a, b) => a.tag - b.tag || a.id - b.id);
  const value = new DataView(new ArrayBuffer(4 + entries.length * 8));
  value.setUint32(0, VERSION, true);
  entries.forEach(({ tag, permissions, id }, i) => {
    value.setUint16(4 + i * 8, tag, true);
    value.setUint16(6 + i * 8, permissions, true);
    value.setUint32(8 + i * 8, id, true);
  });
  return new Uint8Array(value.buffer);
}

function entryOf(line: string): { tag: number; permissions: number; id: number } {
  const [kind = '', qualifier = '', rwx = '', number] = line.split(':');
  const tags = TAGS[kind.length === 1 ? (Object.keys(TAGS).find((key) => key[0] === kind) ?? '') : kind];
  // mask and other may leave out the empty qualifier.
  const short = tags?.named === 0 && rwx === '';
  const bits = /^([r-])([w-])([x-])$/.exec(short ? qualifier : rwx);
  if (!tags || !bits)
    throw new SquibError('invalid-argument', `ACL entry ${JSON.stringify(line)} is malformed`);
  const permissions = (bits[1] === 'r' ? 4 : 0) + (bits[2] === 'w' ? 2 : 0) + (bits[3] === 'x' ? 1 : 0);
  if (short || qualifier === '') return { tag: tags.own, permissions, id: NO_ID };
  const id = /^\d{1,10}$/.test(number ?? '') ? Number(number) : idOf(qualifier, line);
  if (tags.named === 0 || id >= NO_ID) {
    throw new SquibError('invalid-argument', `ACL entry ${JSON.stringify(line)} names nobody`);
  }
  return { tag: tags.named, permissions, id };
}

function idOf(name: string, line: string): number {
  if (/^\d{1,10}$/.test(name)) return Number(name);
  if (name === 'root') return 0;
  throw new SquibError(
    'failed-precondition',
    `ACL entry ${JSON.stringify(line)} has a name without a number: make the archive with --xattrs or --numeric-owner`,
  );
}

/**
 * What setting an access ACL, in the kernel's form, does to a file's mode: user, mask (or group,
 * without one) and other become its nine bits. `says`: whether the ACL says more than these bits
 * do; one that does not is not kept. Undefined: the value is malformed.
 */
export function aclMode(value: Uint8Array): { readonly bits: number; readonly says: boolean } | undefined {
  if (value.length % 8 !== 4) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (view.getUint32(0, true) !== VERSION) return undefined;
  const permissions = new Map<number, number>();
  for (let at = 4; at < value.length; at += 8) {
    permissions.set(view.getUint16(at, true), view.getUint16(at + 2, true) & 7);
  }
  const of = (kind: string) => permissions.get(TAGS[kind]?.own as number);
  const [user, group, mask, other] = [of('user'), of('group'), of('mask'), of('other')];
  if (user === undefined || group === undefined || other === undefined) return undefined;
  return { bits: (user << 6) | ((mask ?? group) << 3) | other, says: permissions.size > 3 };
}
