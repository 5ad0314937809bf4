/**
 * A node's extended attributes as one byte string: what the tree stores, since most nodes have
 * none and most that do share theirs with others. Sorted by name, so equal sets are equal bytes.
 * Each attribute: name length u16, value length u32 (both little-endian), name, value.
 */
import { SquibError } from '../base/errors.ts';

/** XATTR_NAME_MAX and XATTR_SIZE_MAX of Linux. */
const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 65536;

/** @throws SquibError invalid-argument for a name or a value longer than Linux allows. */
export function encodeXattrSet(xattrs: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const names = [...xattrs.keys()].sort();
  let total = 0;
  for (const name of names) {
    const size = (xattrs.get(name) as Uint8Array).length;
    if (name.length === 0 || name.length > NAME_BYTES_MAX || size > VALUE_BYTES_MAX) {
      throw new SquibError(
        'invalid-argument',
        `extended attribute "${name}" of ${size} bytes; a name has 1..${NAME_BYTES_MAX} bytes, a value at most ${VALUE_BYTES_MAX}`,
      );
    }
    total += 6 + name.length + size;
  }
  const out = Buffer.alloc(total);
  let at = 0;
  for (const name of names) {
    const value = xattrs.get(name) as Uint8Array;
    out.writeUInt16LE(name.length, at);
    out.writeUInt32LE(value.length, at + 2);
    out.write(name, at + 6, 'latin1');
    out.set(value, at + 6 + name.length);
    at += 6 + name.length + value.length;
  }
  return out;
}

/** @param bytes as `encodeXattrSet` made them; the values are copies. */
export function decodeXattrSet(bytes: Uint8Array): Map<string, Uint8Array> {
  const from = Buffer.from(bytes);
  const xattrs = new Map<string, Uint8Array>();
  for (let at = 0; at < from.length; ) {
    const nameEnd = at + 6 + from.readUInt16LE(at);
    const valueEnd = nameEnd + from.readUInt32LE(at + 2);
    xattrs.set(from.toString('latin1', at + 6, nameEnd), from.subarray(nameEnd, valueEnd));
    at = valueEnd;
  }
  return xattrs;
}
