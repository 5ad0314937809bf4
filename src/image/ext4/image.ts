/** A read-only ext4 image written in one pass (docs/protocol/ext4.md). */
import { BLOCK_BYTES } from '../block-file.ts';
import type { DataArea } from '../data-area.ts';
import type { Tree } from '../tree.ts';
import { IMAGE_BLOCKS_MAX, IMAGE_DATA_START, imageGaps, imageGeometry } from './geometry.ts';
import { Ext4Writer } from './writer.ts';

export interface ImageOptions {
  /** 16 bytes, from a digest of what goes in: the same input gives the same image. */
  readonly uuid: Uint8Array;
  /** Small files live in their inodes. Off for a device that guests map (DAX). Default: on. */
  readonly inlineData?: boolean;
  /** Whether `finish` waits until the disk has the image. Default: yes. */
  readonly sync?: boolean;
}

export interface ImageStats {
  /** Size of the image; the file may take less, its holes are none of the disk's. */
  readonly bytes: number;
  /** Files of every kind, directories and the root included. */
  readonly inodes: number;
}

/** An image that is being made. Nothing is at its path until `finish` returned. */
export interface ImageBuilder {
  readonly tree: Tree;
  readonly data: DataArea;
  /** Writes the metadata and gives the file its name. The builder is done for afterwards. */
  finish(): ImageStats;
  /** Removes what was written. To be called unless `finish` returned; harmless afterwards. */
  abort(): void;
}

/** Inodes with content inside are this large. */
const INODE_BYTES = 1024;
const PLAIN_INODE_BYTES = 256;

/**
 * Starts an image at `path`, in a file beside it that gets that name in the end.
 * @throws what opening files throws: ENOENT, EACCES, ENOSPC with the system's message.
 */
export function createExt4Image(path: string, options: ImageOptions): ImageBuilder {
  const { uuid, inlineData = true, sync = true } = options;
  const inodeBytes = inlineData ? INODE_BYTES : PLAIN_INODE_BYTES;
  const writer = new Ext4Writer(path, {
    uuid,
    inodeBytes,
    inlineData,
    readOnly: true,
    dataStart: IMAGE_DATA_START,
    dataEndMax: IMAGE_BLOCKS_MAX,
    sync,
  });
  return {
    tree: writer.tree,
    data: writer.data,
    finish() {
      const contents = writer.writeContents();
      const geometry = imageGeometry(writer.dataEnd, contents.inodesUsed, inodeBytes);
      writer.complete(contents, geometry, imageGaps(geometry));
      return { bytes: geometry.blocks * BLOCK_BYTES, inodes: writer.tree.nodeCount };
    },
    abort: () => writer.abort(),
  };
}
