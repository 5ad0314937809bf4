import { closeSync, fchmodSync, fchownSync, ftruncateSync, writeSync } from 'node:fs';
import { type ErrorCode, SquibError } from '../../base/errors.ts';
import { type LayerNode, layerNode } from '../export/layer-node.ts';
import type { Inode } from '../ext4/read/inode.ts';
import type { Step } from '../ext4/read/walk.ts';
import type { Ext4Reader } from '../ext4/reader.ts';
import { type HostCalls, S_IFCHR, S_IFIFO, S_IFSOCK, type XattrTarget } from './host-calls.ts';

export interface MirrorStats {
  entries: number;
  /** Data written; holes do not count. */
  bytes: number;
  whiteouts: number;
  /** Device nodes other than whiteouts: the guest's to make, not the host's to have. */
  skippedDevices: number;
  /** Attributes that the host's file system cannot hold. */
  skippedAttributes: number;
}

interface Level {
  readonly fd: number;
  readonly node: LayerNode;
}

/**
 * Makes on the host what a walk over an overlay's upper directory yields: whiteouts as devices
 * 0:0, opaque directories by their attribute, hard links as such. Works from open directories
 * downwards; what a forged image says twice under one name fails, since every file is made new.
 */
export class Mirror {
  readonly stats: MirrorStats = {
    entries: 0,
    bytes: 0,
    whiteouts: 0,
    skippedDevices: 0,
    skippedAttributes: 0,
  };
  readonly #reader: Ext4Reader;
  readonly #calls: HostCalls;
  readonly #root: number;
  readonly #opaque: string;
  readonly #levels: Level[] = [];

  /** @param target `root` is an open, empty directory that stays the caller's; `opaque` an attribute's name. */
  constructor(reader: Ext4Reader, calls: HostCalls, target: { root: number; opaque: string }) {
    this.#reader = reader;
    this.#calls = calls;
    this.#root = target.root;
    this.#opaque = target.opaque;
  }

  /** @throws SquibError naming the path in the image. */
  take(step: Step): void {
    try {
      if (step.kind === 'leave') this.#leave(step);
      else if (step.inode.type === 'directory') this.#enter(step);
      else this.#make(step);
    } catch (thrown) {
      throw new SquibError(codeOf(thrown), `"/${step.path}" cannot be written to the upper directory`, {
        cause: thrown,
      });
    }
  }

  /** Closes what a walk that was cut off has left open. */
  close(): void {
    for (const level of this.#levels.splice(0)) if (level.fd !== this.#root) closeSync(level.fd);
  }

  #enter({ path, name, inode }: Step): void {
    const node = layerNode(this.#reader, inode, path);
    const parent = this.#levels.at(-1);
    this.stats.entries++;
    if (parent === undefined) {
      this.#levels.push({ fd: this.#root, node });
      return;
    }
    this.#calls.makeDirectory(parent.fd, name);
    this.#levels.push({ fd: this.#calls.openDirectory(parent.fd, name), node });
  }

  /** Times last: making the content changed them. */
  #leave({ name, inode }: Step): void {
    const { fd, node } = this.#levels.pop() as Level;
    try {
      const target = { fd, directory: fd, name };
      fchownSync(fd, inode.uid, inode.gid);
      fchmodSync(fd, inode.permissions);
      this.#setXattrs(target, node.xattrs);
      if (node.isOpaque && !this.#calls.setXattr(target, this.#opaque, Buffer.from('y')))
        throw new SquibError('failed-precondition', `the host's file system cannot hold ${this.#opaque}`);
      this.#calls.setTimes(fd, '.', inode.mtimeSeconds, inode.mtimeNanos);
    } finally {
      if (fd !== this.#root) closeSync(fd);
    }
  }

  #make({ path, name, inode, linkTo }: Step): void {
    const directory = (this.#levels.at(-1) as Level).fd;
    const node = layerNode(this.#reader, inode, path);
    if (node.isWhiteout) {
      this.stats.whiteouts++;
      this.#calls.makeNode(directory, name, S_IFCHR);
      return;
    }
    if (inode.type === 'character' || inode.type === 'block') {
      this.stats.skippedDevices++;
      return;
    }
    this.stats.entries++;
    if (linkTo !== undefined) {
      this.#calls.link(this.#root, linkTo, directory, name);
      return;
    }
    const target = { directory, name };
    if (inode.type === 'file') {
      this.#file(target, inode, node);
      return;
    }
    if (inode.type === 'symlink') this.#calls.symlink(this.#reader.target(inode), directory, name);
    else this.#calls.makeNode(directory, name, inode.type === 'fifo' ? S_IFIFO : S_IFSOCK);
    this.#calls.chown(directory, name, inode.uid, inode.gid);
    if (inode.type !== 'symlink') this.#calls.chmod(directory, name, inode.permissions);
    this.#setXattrs(target, node.xattrs);
    this.#calls.setTimes(directory, name, inode.mtimeSeconds, inode.mtimeNanos);
  }

  /** The owner before mode and attributes: a change of owner clears set-id bits and capabilities. */
  #file({ directory, name }: { directory: number; name: string }, inode: Inode, node: LayerNode): void {
    const fd = this.#calls.createFile(directory, name);
    try {
      for (const { position, bytes } of this.#reader.content(inode)) {
        this.stats.bytes += bytes.length;
        for (let done = 0; done < bytes.length; )
          done += writeSync(fd, bytes, done, bytes.length - done, position + done);
      }
      ftruncateSync(fd, inode.size);
      fchownSync(fd, inode.uid, inode.gid);
      fchmodSync(fd, inode.permissions);
      this.#setXattrs({ fd, directory, name }, node.xattrs);
      this.#calls.setTimes(directory, name, inode.mtimeSeconds, inode.mtimeNanos);
    } finally {
      closeSync(fd);
    }
  }

  #setXattrs(target: XattrTarget, xattrs: ReadonlyMap<string, Uint8Array>): void {
    for (const [attribute, value] of xattrs) {
      if (!this.#calls.setXattr(target, attribute, value)) this.stats.skippedAttributes++;
    }
  }
}

function codeOf(thrown: unknown): ErrorCode {
  if (thrown instanceof SquibError) return thrown.code;
  return (thrown as NodeJS.ErrnoException).code === 'ENOSPC' ? 'resource-exhausted' : 'failed-precondition';
}
