/**
 * A file system as a value: names, attributes and links, without file content (data-area.ts).
 * Names, link targets and attribute names are latin1 strings: one character is one raw byte.
 * About 85 bytes of memory per entry; link targets and extended attributes spill to a file.
 */
import { SquibError } from '../base/errors.ts';
import { u16Column, u32Column } from './column.ts';
import { NameTable } from './name-table.ts';
import { Spill } from './spill.ts';
import { decodeXattrSet, encodeXattrSet } from './xattr-set.ts';

/** 0 is the root; others in the order of `add`, never used again after a removal. */
export type NodeId = number;

/** The file type bits of a mode, as stat(2) has them. */
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;

export interface Attributes {
  /** S_IFMT bits and permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, also negative. What ext4 cannot hold is brought to its nearest end. */
  readonly mtimeSeconds: number;
  readonly mtimeNanos: number;
  /** Of character and block devices. */
  readonly rdevMajor?: number;
  readonly rdevMinor?: number;
  /** By full name ("user.x", "security.capability"); ACLs in the form of getxattr(2). */
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
  /** Of a symbolic link. */
  readonly target?: string;
}

export interface Child {
  readonly name: string;
  readonly node: NodeId;
}

/** ext4's own limit on hard links to one file. */
const LINKS_MAX = 65_000;
/** PATH_MAX less its end. */
const TARGET_BYTES_MAX = 4095;
/** The seconds that ext4's 34 bits hold. */
const SECONDS_MIN = -(2 ** 31);
const SECONDS_MAX = 2 ** 34 - 2 ** 31 - 1;
/** Identical attribute sets within this many distinct ones are stored once. */
const SHARED_SETS_MAX = 4096;
const TYPES = new Set([S_IFSOCK, S_IFLNK, S_IFREG, S_IFBLK, S_IFDIR, S_IFCHR, S_IFIFO]);

export class Tree {
  readonly root: NodeId = 0;
  /** Called with every node whose last name went, once. */
  onRelease: (node: NodeId) => void = () => {};
  readonly #spill: Spill;
  readonly #checkXattrs: (xattrs: ReadonlyMap<string, Uint8Array>) => void;
  readonly #names = new NameTable();
  #count = 0;
  #live = 0;
  readonly #mode = u16Column();
  readonly #links = u16Column();
  readonly #uid = u32Column();
  readonly #gid = u32Column();
  /** The low 32 bits of the seconds; the two above stand below the nanoseconds, as in ext4. */
  readonly #seconds = u32Column();
  readonly #nanos = u32Column();
  readonly #xattrs = u32Column();
  /** Directory: the parent. Device: major. Symlink: length of the target. */
  readonly #detail = u32Column();
  /** Device: minor. Symlink: offset in the spill. */
  readonly #offset = u32Column();
  readonly #nodeColumns: readonly { reserve(count: number): void }[];
  /** Attribute set i, from 1: where in the spill. */
  #setCount = 0;
  readonly #setOffset = u32Column();
  readonly #setLength = u32Column();
  readonly #recentSets = new Map<string, number>();

  /**
   * @param spill keeps what needs no memory; by default it does not spill at all.
   * @param checkXattrs throws for attributes that the output cannot hold, so that `add` does.
   */
  constructor(
    spill = new Spill(),
    checkXattrs: (xattrs: ReadonlyMap<string, Uint8Array>) => void = () => {},
  ) {
    this.#spill = spill;
    this.#checkXattrs = checkXattrs;
    this.#nodeColumns = [
      this.#mode,
      this.#links,
      this.#uid,
      this.#gid,
      this.#seconds,
      this.#nanos,
      this.#xattrs,
      this.#detail,
      this.#offset,
    ];
    this.#newNode({ mode: S_IFDIR | 0o755, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanos: 0 }, 0);
    this.#links.cells[0] = 1;
  }

  /** One above the highest node id so far. */
  get nodeIdEnd(): number {
    return this.#count;
  }

  /** Nodes that have a name, and the root. */
  get nodeCount(): number {
    return this.#live;
  }

  /**
   * A new node under a new name.
   * @throws SquibError `already-exists`; `invalid-argument` for a name that is empty, `.`, `..`,
   *   longer than 255 bytes or has `/` or NUL in it, for an unknown type and for a symlink without
   *   a target; `failed-precondition` if the parent is no directory.
   */
  add(parent: NodeId, name: string, attributes: Attributes): NodeId {
    this.#checkFree(parent, name);
    const node = this.#newNode(attributes, parent);
    this.#names.insert(parent, name, node);
    this.#links.cells[node] = 1;
    return node;
  }

  /**
   * A further name for a node that is no directory.
   * @throws SquibError as `add`, and `resource-exhausted` beyond 65,000 links.
   */
  link(parent: NodeId, name: string, node: NodeId): void {
    if (this.isDirectory(node))
      throw new SquibError('invalid-argument', `hard link "${name}" to a directory: not possible in ext4`);
    this.#checkFree(parent, name);
    const links = this.links(node);
    if (links === 0) throw new SquibError('internal', `hard link "${name}" to a node that was removed`);
    if (links >= LINKS_MAX)
      throw new SquibError(
        'resource-exhausted',
        `hard link "${name}": its file has ${LINKS_MAX} links already`,
      );
    this.#names.insert(parent, name, node);
    this.#links.cells[node] = links + 1;
  }

  /** Removes a name and, below a directory, everything. @returns false if there was none. */
  remove(parent: NodeId, name: string): boolean {
    const first = this.#names.remove(parent, name);
    if (first === undefined) return false;
    const pending = [first];
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      const links = this.links(node) - 1;
      this.#links.cells[node] = links;
      if (links > 0) continue;
      this.#live--;
      if (this.isDirectory(node)) for (const child of this.#names.removeAll(node)) pending.push(child);
      this.onRelease(node);
    }
    return true;
  }

  lookup(parent: NodeId, name: string): NodeId | undefined {
    return this.#names.lookup(parent, name);
  }

  attributes(node: NodeId): Attributes {
    const mode = this.mode(node);
    const type = mode & S_IFMT;
    const xattrs = this.xattrs(node);
    const extra = this.#nanos.cells[node] as number;
    return {
      mode,
      uid: this.#uid.cells[node] as number,
      gid: this.#gid.cells[node] as number,
      mtimeSeconds: ((this.#seconds.cells[node] as number) | 0) + (extra & 3) * 2 ** 32,
      mtimeNanos: extra >>> 2,
      ...(type === S_IFCHR || type === S_IFBLK
        ? { rdevMajor: this.#detail.cells[node] as number, rdevMinor: this.#offset.cells[node] as number }
        : {}),
      ...(type === S_IFLNK ? { target: this.#target(node) } : {}),
      ...(xattrs ? { xattrs } : {}),
    };
  }

  /**
   * Replaces all attributes.
   * @throws SquibError `invalid-argument` if the type is another: remove and add instead.
   */
  setAttributes(node: NodeId, attributes: Attributes): void {
    if ((attributes.mode & S_IFMT) !== (this.mode(node) & S_IFMT)) {
      const [is, asked] = [this.mode(node), attributes.mode].map((m) => `0o${m.toString(8)}`);
      throw new SquibError('invalid-argument', `a node's type cannot change: mode ${is} to ${asked}`);
    }
    this.#store(node, attributes, this.#detail.cells[node] as number);
  }

  /** The children sorted by the bytes of their names; the tree must not change meanwhile. */
  *children(node: NodeId): Generator<Child, undefined, undefined> {
    const names = this.#names;
    for (const entry of names.sorted(node)) yield { name: names.name(entry), node: names.node(entry) };
  }

  /** As `children`, without an object for each: numbers for `entryName` and `entryNode`. */
  entries(directory: NodeId): Uint32Array {
    return this.#names.sorted(directory);
  }

  /** The bytes of a name, a view until the next change of the tree. */
  entryName(entry: number): Uint8Array {
    return this.#names.nameBytes(entry);
  }

  entryNode(entry: number): NodeId {
    return this.#names.node(entry);
  }

  /** How many different attribute sets there are: `xattrSet` gives 1 to this. */
  get xattrSetCount(): number {
    return this.#setCount;
  }

  /** A directory's own; the root's is the root. */
  parent(directory: NodeId): NodeId {
    return this.#detail.cells[directory] as number;
  }

  isDirectory(node: NodeId): boolean {
    return (this.mode(node) & S_IFMT) === S_IFDIR;
  }

  mode(node: NodeId): number {
    return this.#mode.cells[node] as number;
  }

  /** How many names a node has; 0: it was removed. A directory has one. */
  links(node: NodeId): number {
    return this.#links.cells[node] as number;
  }

  /** Nodes with the same number have the same attributes; 0: none. */
  xattrSet(node: NodeId): number {
    return this.#xattrs.cells[node] as number;
  }

  xattrs(node: NodeId): ReadonlyMap<string, Uint8Array> | undefined {
    const set = this.xattrSet(node);
    if (set === 0) return undefined;
    const length = this.#setLength.cells[set] as number;
    return decodeXattrSet(this.#spill.read(this.#setOffset.cells[set] as number, length));
  }

  /** Of a symbolic link. */
  #target(node: NodeId): string {
    const bytes = this.#spill.read(this.#offset.cells[node] as number, this.#detail.cells[node] as number);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  }

  #checkFree(parent: NodeId, name: string): void {
    checkName(name);
    if (!this.isDirectory(parent))
      throw new SquibError('failed-precondition', `the parent of "${name}" is not a directory`);
    if (this.#names.lookup(parent, name) !== undefined)
      throw new SquibError('already-exists', `"${name}" exists already in its directory`);
  }

  #newNode(attributes: Attributes, parent: NodeId): NodeId {
    const type = attributes.mode & S_IFMT;
    if (!TYPES.has(type))
      throw new SquibError(
        'invalid-argument',
        `mode 0o${attributes.mode.toString(8)} has no known file type`,
      );
    const node = this.#count;
    for (const column of this.#nodeColumns) column.reserve(node + 1);
    this.#store(node, attributes, type === S_IFDIR ? parent : 0);
    this.#count++;
    this.#live++;
    return node;
  }

  #store(node: NodeId, a: Attributes, detail: number): void {
    const type = a.mode & S_IFMT;
    let extent = detail;
    let offset = 0;
    if (type === S_IFCHR || type === S_IFBLK) {
      extent = checkInteger(a.rdevMajor ?? 0, 0xfff, 'a major number');
      offset = checkInteger(a.rdevMinor ?? 0, 0xf_ffff, 'a minor number');
    } else if (type === S_IFLNK) {
      const target = a.target ?? '';
      if (target.length === 0 || target.length > TARGET_BYTES_MAX || target.includes('\0'))
        throw new SquibError(
          'invalid-argument',
          `symbolic link to ${target.length} bytes; expected 1..${TARGET_BYTES_MAX} without NUL`,
        );
      extent = target.length;
      offset = this.#spill.append(Buffer.from(target, 'latin1'));
    }
    if (Number.isNaN(a.mtimeSeconds)) throw new SquibError('invalid-argument', 'a time that is not a number');
    const seconds = Math.min(Math.max(Math.floor(a.mtimeSeconds), SECONDS_MIN), SECONDS_MAX);
    this.#xattrs.cells[node] = a.xattrs && a.xattrs.size > 0 ? this.#internSet(a.xattrs) : 0;
    this.#mode.cells[node] = checkInteger(a.mode, 0xffff, 'a mode');
    this.#uid.cells[node] = checkInteger(a.uid, 0xffff_ffff, 'a user id');
    this.#gid.cells[node] = checkInteger(a.gid, 0xffff_ffff, 'a group id');
    this.#seconds.cells[node] = seconds;
    this.#nanos.cells[node] =
      checkInteger(a.mtimeNanos, 999_999_999, 'nanoseconds') * 4 +
      Math.floor((seconds - SECONDS_MIN) / 2 ** 32);
    this.#detail.cells[node] = extent;
    this.#offset.cells[node] = offset;
  }

  #internSet(xattrs: ReadonlyMap<string, Uint8Array>): number {
    const bytes = encodeXattrSet(xattrs);
    const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    const known = this.#recentSets.get(key);
    if (known !== undefined) return known;
    this.#checkXattrs(xattrs);
    const set = ++this.#setCount;
    this.#setOffset.reserve(set + 1);
    this.#setLength.reserve(set + 1);
    this.#setOffset.cells[set] = this.#spill.append(bytes);
    this.#setLength.cells[set] = bytes.length;
    // A big set is worth no place among the recent ones: 4096 of them would be the memory bound.
    if (key.length <= 1024) {
      if (this.#recentSets.size >= SHARED_SETS_MAX) this.#recentSets.clear();
      this.#recentSets.set(key, set);
    }
    return set;
  }
}

function checkName(name: string): void {
  if (
    name.length === 0 ||
    name.length > 255 ||
    name === '.' ||
    name === '..' ||
    /[/\0\u0100-\uffff]/.test(name)
  )
    throw new SquibError(
      'invalid-argument',
      `"${name.slice(0, 300)}" is no file name: expected 1..255 bytes as latin1, without / and NUL, not . or ..`,
    );
}

function checkInteger(value: number, max: number, what: string): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new SquibError('invalid-argument', `${what} of ${value}; expected 0..${max}`);
}
