import { describe, SquibError } from '../../base/errors.ts';
import type { Inode } from './read/inode.ts';
import { walk } from './read/walk.ts';
import type { Ext4Reader } from './reader.ts';

/** Faults that are kept as text; the rest is counted. */
const FAULTS_MAX = 100;
/** The map of used blocks takes a bit each: 64 MiB for 2 TiB of blocks. Larger images go without. */
const MAPPED_BLOCKS_MAX = 2 ** 29;

export interface VerifyReport {
  entries: number;
  files: number;
  directories: number;
  /** Data that files and directories map; what is inline does not count. */
  dataBytes: number;
  /** Path and reason, at most a hundred. */
  readonly faults: string[];
  faultCount: number;
}

/**
 * Reads all names, attributes, targets and extents below the root, and compares link counts and
 * the use of blocks. Goes on after a fault where it can.
 */
export function verifyTree(reader: Ext4Reader, progress?: (entries: number) => void): VerifyReport {
  const verification = new Verification(reader);
  try {
    for (const step of walk(reader, reader.root)) {
      if (step.kind === 'leave') continue;
      verification.take(step.path, step.inode, step.linkTo);
      progress?.(verification.report.entries);
    }
    verification.compareLinks();
  } catch (thrown) {
    if (!(thrown instanceof SquibError)) throw thrown;
    verification.fault('the walk ends', thrown);
  }
  return verification.report;
}

class Verification {
  readonly report: VerifyReport = {
    entries: 0,
    files: 0,
    directories: 0,
    dataBytes: 0,
    faults: [],
    faultCount: 0,
  };
  readonly #reader: Ext4Reader;
  readonly #used: Uint8Array | undefined;
  /** By number, of files that have several names: what is still missing. */
  readonly #missingNames = new Map<number, { path: string; count: number }>();

  constructor(reader: Ext4Reader) {
    this.#reader = reader;
    const { blocks } = reader.geometry;
    this.#used = blocks <= MAPPED_BLOCKS_MAX ? new Uint8Array(Math.ceil(blocks / 8)) : undefined;
  }

  take(path: string, inode: Inode, linkTo: string | undefined): void {
    this.report.entries++;
    if (inode.type === 'directory') this.report.directories++;
    else if (inode.links > 1) this.#countName(path, inode);
    if (linkTo !== undefined) return;
    if (inode.type === 'file') this.report.files++;
    try {
      this.#reader.xattrs(inode);
      if (inode.type === 'symlink') this.#reader.target(inode);
      if (inode.type === 'file' || inode.type === 'directory') this.#useBlocks(inode);
    } catch (thrown) {
      this.fault(`"/${path}"`, thrown);
    }
  }

  /** At the end: names that a link count promised. */
  compareLinks(): void {
    for (const { path, count } of this.#missingNames.values()) {
      if (count === 0) continue;
      const how = count > 0 ? `${count} fewer names than links` : `${-count} more names than links`;
      this.fault(`"/${path}"`, new SquibError('data-loss', how));
    }
  }

  fault(where: string, thrown: unknown): void {
    this.report.faultCount++;
    if (this.report.faults.length < FAULTS_MAX) this.report.faults.push(`${where}: ${describe(thrown)}`);
  }

  #countName(path: string, inode: Inode): void {
    const known = this.#missingNames.get(inode.number);
    if (known) known.count--;
    else this.#missingNames.set(inode.number, { path, count: inode.links - 1 });
  }

  #useBlocks(inode: Inode): void {
    const { blockSize } = this.#reader.geometry;
    for (const run of this.#reader.runs(inode)) {
      this.report.dataBytes += run.bytes;
      const first = run.offset / blockSize;
      for (let block = first; block < first + run.bytes / blockSize; block++) this.#use(block);
    }
  }

  #use(block: number): void {
    if (this.#used === undefined) return;
    const at = block >>> 3;
    const bit = 1 << (block & 7);
    if (((this.#used[at] as number) & bit) !== 0)
      throw new SquibError('data-loss', `block ${block} belongs to another file too`);
    this.#used[at] = (this.#used[at] as number) | bit;
  }
}
