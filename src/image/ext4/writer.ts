import { closeSync, fsyncSync, ftruncateSync, openSync, renameSync, rmSync } from 'node:fs';
import { BLOCK_BYTES, BlockFile } from '../block-file.ts';
import { DataArea } from '../data-area.ts';
import type { Run } from '../free-runs.ts';
import { Spill } from '../spill.ts';
import { temporaryPath } from '../temporary-file.ts';
import { Tree } from '../tree.ts';
import { bodySpaceOf, type Contents, inlineBytesMax, writeContents } from './contents.ts';
import type { Geometry } from './geometry.ts';
import { BLOCKS_PER_GROUP, GROUP_BYTES } from './group.ts';
import { writeGroupTables } from './group-tables.ts';
import { FIRST_INODE } from './inode.ts';
import { writeInodeTable } from './inode-table.ts';
import {
  COMPAT,
  encodeSuperblock,
  FLAG_UNSIGNED_HASH,
  HASH_HALF_MD4,
  INCOMPAT,
  RO_COMPAT,
  STATE_CLEAN,
  SUPERBLOCK_MAGIC,
  SUPERBLOCK_OFFSET,
} from './superblock.ts';
import { placeXattrs } from './xattr-placement.ts';

/** What an image is, apart from its content. */
export interface Profile {
  /** 16 bytes; also the seed of the directory hash. */
  readonly uuid: Uint8Array;
  readonly inodeBytes: number;
  readonly inlineData: boolean;
  /** Never to be mounted for writing. Otherwise descriptors have checksums, and untouched groups no bitmaps. */
  readonly readOnly: boolean;
  /** Where file content begins, and the block it must end before. */
  readonly dataStart: number;
  readonly dataEndMax: number;
  /** Whether the disk has it before it gets its name. */
  readonly sync: boolean;
}

/** An image in the making: in a file beside its path, which it gets when it is complete. */
export class Ext4Writer {
  readonly tree: Tree;
  readonly data: DataArea;
  readonly #path: string;
  readonly #temporary: string;
  readonly #profile: Profile;
  readonly #spill: Spill;
  readonly #file: BlockFile;
  #open = true;

  /** @throws what opening files throws: ENOENT, EACCES, ENOSPC with the system's message. */
  constructor(path: string, profile: Profile) {
    const { inodeBytes, inlineData } = profile;
    this.#path = path;
    this.#profile = profile;
    this.#temporary = temporaryPath(path);
    const fd = openSync(this.#temporary, 'wx+', 0o600);
    this.#spill = new Spill(`${this.#temporary}.spill`);
    this.#file = new BlockFile(fd, profile.dataStart, profile.dataEndMax);
    this.data = new DataArea(this.#file, this.#spill, inlineData ? inlineBytesMax(inodeBytes) : 0);
    this.tree = new Tree(this.#spill, (xattrs) => placeXattrs(xattrs, bodySpaceOf(inodeBytes)));
    this.tree.onRelease = (node) => this.data.release(node);
  }

  /** Writes all but the tables: file content and whatever else needs blocks is in place then. */
  writeContents(): Contents {
    const { inodeBytes, uuid } = this.#profile;
    return writeContents(this.tree, this.data, this.#file, { inodeBytes, hashSeed: uuid });
  }

  /** The block behind the last one in use. */
  get dataEnd(): number {
    return this.#file.end;
  }

  /** Writes the tables and gives the file its name. @param free blocks beside those that `data` knows. */
  complete(contents: Contents, geometry: Geometry, free: readonly Run[]): void {
    const directories = writeInodeTable(this.#file, geometry, contents);
    for (const { start, length } of free) this.data.free.add(start, length);
    const freeBlocks = writeGroupTables(this.#file, geometry, {
      inodesUsed: contents.inodesUsed,
      directories,
      free: this.data.free.sorted(),
      checksumUuid: this.#profile.readOnly ? undefined : this.#profile.uuid,
    });
    this.#file.writeAt(this.#superblock(geometry, freeBlocks, contents.inodesUsed), SUPERBLOCK_OFFSET);
    ftruncateSync(this.#file.fd, geometry.blocks * BLOCK_BYTES);
    if (this.#profile.sync) fsyncSync(this.#file.fd);
    this.#close();
    renameSync(this.#temporary, this.#path);
  }

  /** Removes what was written, unless it is complete. */
  abort(): void {
    if (this.#open) this.#close();
    rmSync(this.#temporary, { force: true });
  }

  #close(): void {
    this.#open = false;
    closeSync(this.#file.fd);
    this.#spill.close();
  }

  #superblock(geometry: Geometry, freeBlocks: number, inodesUsed: number): Uint8Array {
    const { uuid, inlineData, readOnly } = this.#profile;
    const { largeFile, hugeFile, dirNlink, extraIsize, readonly, gdtCsum } = RO_COMPAT;
    const inodesCount = geometry.groups * geometry.inodesPerGroup;
    return encodeSuperblock({
      inodesCount,
      blocksCount: geometry.blocks,
      freeBlocks,
      freeInodes: inodesCount - inodesUsed,
      firstDataBlock: 0,
      logBlockSize: 2,
      blocksPerGroup: BLOCKS_PER_GROUP,
      inodesPerGroup: geometry.inodesPerGroup,
      magic: SUPERBLOCK_MAGIC,
      state: STATE_CLEAN,
      revision: 1,
      firstInode: FIRST_INODE,
      inodeBytes: geometry.inodeBytes,
      compat: COMPAT.extAttr | COMPAT.dirIndex | COMPAT.sparseSuper2,
      incompat:
        INCOMPAT.filetype | INCOMPAT.extents | INCOMPAT.flexBg | (inlineData ? INCOMPAT.inlineData : 0),
      roCompat: largeFile | hugeFile | dirNlink | extraIsize | (readOnly ? readonly : gdtCsum),
      uuid,
      hashSeed: uuid,
      hashVersion: HASH_HALF_MD4,
      descriptorBytes: GROUP_BYTES,
      flags: FLAG_UNSIGNED_HASH,
      // All groups are one: their metadata may lie anywhere.
      logGroupsPerFlex: 31,
      reservedGdtBlocks: 0,
      journalInode: 0,
      lastOrphan: 0,
      firstMetaBg: 0,
    });
  }
}
