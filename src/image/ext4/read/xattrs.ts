import {
  decodeXattrBlock,
  decodeXattrBody,
  fromXattrEntry,
  isInlineData,
  type XattrEntry,
} from '../xattr.ts';
import { corrupt, of } from './corrupt.ts';
import type { Geometry } from './geometry.ts';
import type { ImageFile } from './image-file.ts';
import type { Inode } from './inode.ts';

/** All stored attributes of an inode: those that were set, and the one that is file content. */
export interface StoredXattrs {
  /** By full name as latin1; ACLs in the form of getxattr(2). */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  readonly inlineData: Uint8Array | undefined;
}

/**
 * Reads the attributes in the inode and in its block. At most one inode and one block are looked
 * at, so there are at most some hundred of them.
 * @throws SquibError `data-loss`, `unimplemented` for values in inodes of their own.
 */
export function readXattrs(image: ImageFile, geometry: Geometry, inode: Inode): StoredXattrs {
  return of(`inode ${inode.number}`, () => {
    const entries = decodeXattrBody(inode.body);
    if (inode.xattrBlock !== 0) entries.push(...blockXattrs(image, geometry, inode.xattrBlock));
    const xattrs = new Map<string, Uint8Array>();
    for (const entry of entries) {
      if (isInlineData(entry)) continue;
      const { name, value } = named(entry);
      // The kernel looks into the inode first.
      if (!xattrs.has(name)) xattrs.set(name, value);
    }
    return { xattrs, inlineData: entries.find(isInlineData)?.value };
  });
}

function blockXattrs(image: ImageFile, geometry: Geometry, number: number): XattrEntry[] {
  const { firstDataBlock, blocks, blockSize } = geometry;
  if (!(number > firstDataBlock && number < blocks))
    throw corrupt(`attribute block ${number}; the image has ${blocks} blocks`);
  return decodeXattrBlock(image.view(number * blockSize, blockSize));
}

function named(entry: XattrEntry): { name: string; value: Uint8Array } {
  const attribute = fromXattrEntry(entry);
  if (attribute === undefined)
    throw corrupt(`attribute "${entry.name}" has the unknown prefix ${entry.index}`);
  if (attribute.name.includes('\0')) throw corrupt('an attribute name holds a zero byte');
  return attribute;
}
