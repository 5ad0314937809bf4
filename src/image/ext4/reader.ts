import { SquibError } from '../../base/errors.ts';
import { FIRST_INODE, ROOT_INODE } from './inode.ts';
import { corrupt } from './read/corrupt.ts';
import { blockEntries, type Entry } from './read/entries.ts';
import { dataRuns, type Run } from './read/extents.ts';
import { type Geometry, readGeometry } from './read/geometry.ts';
import { ImageFile } from './read/image-file.ts';
import { decodeInode, type Inode, inodePosition } from './read/inode.ts';
import { Work } from './read/work.ts';
import { readXattrs } from './read/xattrs.ts';

/** A piece of content that is read and handed on at once. */
const PIECE_BYTES = 256 * 1024;
/** Linux follows no longer symlink. */
const TARGET_BYTES_MAX = 4095;
/** Linux resolves at most so many symlinks in one path. */
const SYMLINKS_MAX = 40;
/** Inline directories begin with the number of their parent. */
const INLINE_PARENT_BYTES = 4;

/** Data of a file; what lies between two pieces is a hole. */
export interface Piece {
  /** In the file, in bytes. */
  readonly position: number;
  /** Valid until the next piece is asked for. */
  readonly bytes: Uint8Array;
}

/**
 * Reads an ext4 image that nobody vouches for, such as one that a guest has written: without
 * mounting it, every number checked against what the file can hold. Memory is bounded (a page
 * cache, the blocks of one path through a tree, one piece), and so is the work: `Work` says how.
 * Calls are synchronous: for a process or thread of its own, not for an event loop.
 */
export class Ext4Reader {
  readonly geometry: Geometry;
  readonly work: Work;
  readonly #image: ImageFile;
  #piece: Uint8Array | undefined;

  private constructor(image: ImageFile, workBlocks: number | undefined) {
    this.#image = image;
    this.geometry = readGeometry(image);
    this.work = workBlocks === undefined ? Work.forImage(this.geometry.blocks) : new Work(workBlocks);
  }

  /**
   * Opens an image. @throws SquibError `not-found`, `invalid-argument`, `data-loss`, `unimplemented`
   * for features it lacks, `failed-precondition` for a journal that was not replayed.
   * @param workBlocks how many blocks may be looked at; without it enough for every sound image.
   */
  static open(path: string, workBlocks?: number): Ext4Reader {
    const image = ImageFile.open(path);
    try {
      return new Ext4Reader(image, workBlocks);
    } catch (thrown) {
      image.close();
      throw thrown;
    }
  }

  close(): void {
    this.#image.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get root(): Inode {
    const root = this.inode(ROOT_INODE);
    if (root.type !== 'directory') throw corrupt(`the root inode is a ${root.type}, not a directory`);
    return root;
  }

  /** @throws SquibError `data-loss` for one that is free, reserved, or damaged. */
  inode(number: number): Inode {
    if (number !== ROOT_INODE && number < FIRST_INODE)
      throw corrupt(`inode ${number} is reserved and cannot be in a directory`);
    const { inodeSize, blockSize } = this.geometry;
    const position = inodePosition(this.#image, this.geometry, number);
    return decodeInode(number, this.#image.view(position, inodeSize), blockSize);
  }

  /** The entries of a directory in stored order, without '.' and '..'. Names may repeat in a forged one. */
  *entries(directory: Inode): Generator<Entry> {
    if (directory.type !== 'directory')
      throw new SquibError(
        'invalid-argument',
        `inode ${directory.number} is a ${directory.type}, not a directory`,
      );
    if (directory.isInline) {
      const { block, number } = directory;
      yield* blockEntries(block.subarray(INLINE_PARENT_BYTES), number, false);
      const more = this.#inlineRest(directory);
      if (more.length > 0) yield* blockEntries(more, number, false);
      return;
    }
    const { blockSize } = this.geometry;
    for (const run of this.#runs(directory)) {
      if (run.position % blockSize !== 0 || run.bytes % blockSize !== 0)
        throw corrupt(`directory ${directory.number}: size ${directory.size} is not whole blocks`);
      for (let at = 0; at < run.bytes; at += blockSize) {
        const block = this.#image.view(run.offset + at, blockSize).slice();
        yield* blockEntries(block, directory.number, run.position + at === 0);
      }
    }
  }

  /** A symlink's target as latin1. */
  target(symlink: Inode): string {
    const { number, size, block } = symlink;
    if (size === 0 || size > TARGET_BYTES_MAX)
      throw corrupt(`symlink ${number}: target of ${size} bytes; expected 1 to ${TARGET_BYTES_MAX}`);
    const bytes = Buffer.alloc(size);
    if (!symlink.hasExtents && !symlink.isInline) {
      if (size >= block.length) throw corrupt(`symlink ${number}: ${size} bytes without a block`);
      bytes.set(block.subarray(0, size));
    } else {
      for (const piece of this.content(symlink)) bytes.set(piece.bytes, piece.position);
    }
    const target = bytes.toString('latin1');
    if (target.includes('\0')) throw corrupt(`symlink ${number}: the target holds a zero byte`);
    return target;
  }

  /** Extended attributes by full name (latin1), as getxattr(2) would give them. */
  xattrs(inode: Inode): ReadonlyMap<string, Uint8Array> {
    return readXattrs(this.#image, this.geometry, inode).xattrs;
  }

  /** Where a file's data is, without reading it; inline data has no runs. */
  runs(inode: Inode): Generator<Run> | readonly [] {
    return inode.isInline ? [] : this.#runs(inode);
  }

  /** A file's data in ascending order. Only one `content` of a reader may be under way at a time. */
  *content(inode: Inode): Generator<Piece> {
    if (inode.isInline) {
      const { size, block } = inode;
      const rest = this.#inlineRest(inode);
      if (size > block.length + rest.length)
        throw corrupt(
          `inode ${inode.number}: size ${size}, inline data of ${block.length + rest.length} bytes`,
        );
      yield { position: 0, bytes: block.subarray(0, Math.min(size, block.length)) };
      if (size > block.length) yield { position: block.length, bytes: rest.subarray(0, size - block.length) };
      return;
    }
    this.#piece ??= new Uint8Array(PIECE_BYTES);
    for (const { position, bytes, offset } of this.#runs(inode)) {
      for (let at = 0; at < bytes; at += PIECE_BYTES) {
        const piece = this.#piece.subarray(0, Math.min(PIECE_BYTES, bytes - at));
        this.#image.readInto(piece, offset + at);
        yield { position: position + at, bytes: piece };
      }
    }
  }

  /** The entry of that name; undefined: none. */
  lookup(directory: Inode, name: string): Inode | undefined {
    for (const entry of this.entries(directory)) if (entry.name === name) return this.inode(entry.inode);
    return undefined;
  }

  /**
   * Finds a path from the root, '' being the root itself; symlinks on the way are followed inside
   * the image, at its end only with `follow`.
   * @param path latin1, with or without a slash in front.
   * @throws SquibError `not-found` naming the path.
   */
  resolve(path: string, follow = false): Inode {
    const parents: Inode[] = [this.root];
    const todo = path.split('/').reverse();
    for (let links = 0; todo.length > 0; ) {
      const name = todo.pop() as string;
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (parents.length > 1) parents.pop();
        continue;
      }
      const at = parents.at(-1) as Inode;
      const found = at.type === 'directory' ? this.lookup(at, name) : undefined;
      if (found === undefined)
        throw new SquibError('not-found', `"${path}" is not in the image: no "${name}" there`);
      if (found.type === 'symlink' && (follow || todo.length > 0)) {
        if (++links > SYMLINKS_MAX)
          throw new SquibError('failed-precondition', `"${path}" has too many symlinks`);
        const target = this.target(found);
        if (target.startsWith('/')) parents.length = 1;
        todo.push(...target.split('/').reverse());
      } else {
        parents.push(found);
      }
    }
    return parents.at(-1) as Inode;
  }

  #runs(inode: Inode): Generator<Run> {
    return dataRuns(this.#image, this.geometry, inode, this.work);
  }

  #inlineRest(inode: Inode): Uint8Array {
    return readXattrs(this.#image, this.geometry, inode).inlineData ?? new Uint8Array();
  }
}
