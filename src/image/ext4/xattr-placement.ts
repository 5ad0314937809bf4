import { SquibError } from '../../base/errors.ts';
import { BLOCK_BYTES } from '../block-file.ts';
import { u32Column } from '../column.ts';
import type { DataArea } from '../data-area.ts';
import type { NodeId, Tree } from '../tree.ts';
import {
  compareXattrs,
  encodeXattrBlock,
  toXattrEntry,
  XATTR_BLOCK_HEADER_BYTES,
  XATTR_BODY_HEADER_BYTES,
  XATTR_END_BYTES,
  XATTR_REFERENCES_MAX,
  type XattrEntry,
  xattrBytes,
} from './xattr.ts';

const BLOCK_SPACE = BLOCK_BYTES - XATTR_BLOCK_HEADER_BYTES - XATTR_END_BYTES;

/** Where the attributes of a set go. */
export interface Placement {
  readonly body: readonly XattrEntry[];
  readonly block: readonly XattrEntry[];
}

/** Bytes of entries for which an inode's body has room; a body without attributes has one word more. */
export function xattrBodySpace(areaBytes: number): number {
  return areaBytes - XATTR_BODY_HEADER_BYTES - XATTR_END_BYTES;
}

/**
 * In the body if all fit there, else in a block, else what a block cannot take in the body.
 * @throws SquibError `unimplemented` for a set larger than both, and for names ext4 does not have.
 */
export function placeXattrs(xattrs: ReadonlyMap<string, Uint8Array>, bodySpace: number): Placement {
  const entries = [...xattrs].map(([name, value]) => toXattrEntry(name, value)).sort(compareXattrs);
  if (entrySum(entries) <= bodySpace) return { body: entries, block: [] };
  if (entrySum(entries) <= BLOCK_SPACE) return { body: [], block: entries };
  const body: XattrEntry[] = [];
  const block: XattrEntry[] = [];
  let blockLeft = BLOCK_SPACE;
  let bodyLeft = bodySpace;
  for (const entry of entries) {
    const bytes = xattrBytes(entry);
    if (bytes <= blockLeft) {
      block.push(entry);
      blockLeft -= bytes;
    } else if (bytes <= bodyLeft) {
      body.push(entry);
      bodyLeft -= bytes;
    } else {
      throw new SquibError(
        'unimplemented',
        `extended attributes of ${entrySum(entries)} bytes, "${entry.name}" alone ${entry.value.length}: ` +
          `an inode holds ${bodySpace} and a block ${BLOCK_SPACE}`,
      );
    }
  }
  return { body, block };
}

export function entrySum(entries: readonly XattrEntry[]): number {
  return entries.reduce((sum, entry) => sum + xattrBytes(entry), 0);
}

/** Blocks of attributes: nodes with the same set share one, as far as ext4 allows. */
export class XattrBlocks {
  readonly #data: DataArea;
  readonly #uses = u32Column();
  readonly #blocks = u32Column();
  readonly #given = u32Column();

  constructor(data: DataArea) {
    this.#data = data;
  }

  /** Counts one more node whose set has a part for a block. */
  count(set: number): void {
    for (const column of [this.#uses, this.#blocks, this.#given]) column.reserve(set + 1);
    this.#uses.cells[set] = (this.#uses.cells[set] as number) + 1;
  }

  /** Writes the blocks of a set that was counted: one for each 1024 nodes, in a row. */
  write(set: number, entries: readonly XattrEntry[]): void {
    const uses = this.#uses.cells[set] ?? 0;
    if (uses === 0) return;
    const full = encodeXattrBlock(entries, XATTR_REFERENCES_MAX);
    const last = uses % XATTR_REFERENCES_MAX;
    const blocks = Array<Uint8Array>(Math.floor(uses / XATTR_REFERENCES_MAX)).fill(full);
    if (last > 0) blocks.push(encodeXattrBlock(entries, last));
    this.#blocks.cells[set] = this.#data.writeMetadata(Buffer.concat(blocks));
  }

  /** The block of the next node with this set: as often as it was counted. 0: the set has none. */
  next(set: number): number {
    if ((this.#uses.cells[set] ?? 0) === 0) return 0;
    const given = this.#given.cells[set] as number;
    this.#given.cells[set] = given + 1;
    return (this.#blocks.cells[set] as number) + Math.floor(given / XATTR_REFERENCES_MAX);
  }
}

/** The placement of a node's set, undefined if it has none. */
export function nodePlacement(tree: Tree, node: NodeId, bodySpace: number): Placement | undefined {
  const xattrs = tree.xattrs(node);
  return xattrs && placeXattrs(xattrs, bodySpace);
}
