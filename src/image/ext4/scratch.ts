/** The writable file system of a container: sparse, and ready in milliseconds (docs/protocol/ext4.md). */
import { SquibError } from '../../base/errors.ts';
import { sha256Hex } from '../../base/sha256.ts';
import type { DataArea } from '../data-area.ts';
import { type NodeId, S_IFDIR, type Tree } from '../tree.ts';
import { scratchDataStart, scratchGeometry } from './geometry.ts';
import { Ext4Writer } from './writer.ts';

const INODE_BYTES = 256;
/** What mke2fs gives: a small scratch must hold a node_modules, and unused inodes take no disk. */
const BYTES_PER_INODE = 16_384;

/** Puts into the scratch, under `target`, what the container finds there. */
export type FillScratch = (sink: { tree: Tree; data: DataArea }, target: NodeId) => void;

/**
 * Makes a sparse writable ext4 of `bytes` at `path`, complete or absent; with content it is on the
 * disk when this returns. An empty one may read as zeroes after a crash of the host within seconds.
 * @param fill fills the directory `/upper`; without it the file system is empty.
 * @throws SquibError `invalid-argument` for a size that ext4 cannot have, `resource-exhausted` if
 *   the content does not fit; what `fill` and the file system throw. Nothing is left then.
 */
export function createScratch(path: string, bytes: number, fill?: FillScratch): void {
  const geometry = scratchGeometry(bytes, BYTES_PER_INODE, INODE_BYTES);
  const writer = new Ext4Writer(path, {
    uuid: Buffer.from(sha256Hex(Buffer.from(path)), 'hex').subarray(0, 16),
    inodeBytes: INODE_BYTES,
    inlineData: false,
    readOnly: false,
    dataStart: scratchDataStart(geometry),
    dataEndMax: geometry.blocks,
    // An empty one has nothing to lose, and waiting for a busy disk would hold up a start.
    sync: fill !== undefined,
  });
  try {
    if (fill) {
      const { tree } = writer;
      const attributes = { mode: S_IFDIR | 0o755, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanos: 0 };
      fill(writer, tree.add(tree.root, 'upper', attributes));
    }
    const contents = writer.writeContents();
    const inodes = geometry.groups * geometry.inodesPerGroup;
    if (contents.inodesUsed > inodes)
      throw new SquibError(
        'resource-exhausted',
        `the content has ${contents.inodesUsed} files; a scratch of ${bytes} bytes has room for ${inodes}`,
      );
    const start = writer.dataEnd;
    writer.complete(contents, geometry, [{ start, length: geometry.blocks - start }]);
  } catch (thrown) {
    writer.abort();
    throw thrown;
  }
}
