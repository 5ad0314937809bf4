import { SquibError } from '../../base/errors.ts';
import {
  type Attributes,
  type NodeId,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  type Tree,
} from '../tree.ts';
import type { TarBudget } from './budget.ts';
import type { EntryKind, TarEntry, TarSink } from './entry.ts';
import { checkLength, Parents } from './parents.ts';

/** Where file content goes; the image's data area. Of one file: begin, write and hole in order, end. */
export interface ContentSink {
  beginFile(node: NodeId, size: number): void;
  /** The bytes are valid only during the call. */
  write(chunk: Uint8Array): void;
  hole(bytes: number): void;
  endFile(): void;
}

/** A path of Linux, its final NUL not counted. */
const PATH_BYTES_MAX = 4095;

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** AUFS's own notes (`.wh..wh.plnk`, `.wh..wh.aufs`), which say nothing about the layer. */
const AUFS_META = '.wh..wh.';

const TYPES: Readonly<Record<EntryKind, number>> = {
  file: S_IFREG,
  link: S_IFREG,
  directory: S_IFDIR,
  symlink: S_IFLNK,
  character: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
};

/**
 * Applies one OCI layer's entries to the tree of the layers below it: a later entry replaces an
 * earlier one of its name, directories merge, `.wh.NAME` and `.wh..wh..opq` hide what layers below
 * have and never what this layer brings, in whatever order they come.
 */
export class LayerSink implements TarSink {
  readonly #tree: Tree;
  readonly #content: ContentSink;
  readonly #budget: TarBudget;
  readonly #parents: Parents;
  readonly #base: boolean;
  /** Nodes from this id on are this layer's own. */
  readonly #firstOwn: NodeId;
  /** Older directories that hold something of this layer, and older nodes that it describes anew. */
  readonly #touched = new Set<NodeId>();
  /** Further names that this layer gives to nodes of layers below, as `parent/name`. */
  readonly #links = new Set<string>();
  #writing = false;

  constructor(tree: Tree, content: ContentSink, budget: TarBudget) {
    this.#tree = tree;
    this.#content = content;
    this.#budget = budget;
    this.#firstOwn = tree.nodeIdEnd;
    this.#base = tree.nodeCount === 1;
    this.#parents = new Parents(tree, budget.limits.depth, (made, name) => {
      budget.takeImplied();
      budget.takeName(name);
      this.#touch(tree.parent(made));
    });
  }

  entry(entry: TarEntry): void {
    this.#writing = false;
    const { path } = entry;
    if (path.length > PATH_BYTES_MAX) {
      throw new SquibError(
        'invalid-argument',
        `path of ${path.length} bytes, at most ${PATH_BYTES_MAX} are possible`,
      );
    }
    let end = path.length;
    while (end > 0 && path.charCodeAt(end - 1) === 0x2f) end--;
    const slash = path.lastIndexOf('/', end - 1);
    const name = path.slice(slash + 1, end);
    const dir = slash === -1 ? '' : path.slice(0, slash);
    if (name === '' || name === '.') {
      this.#unnamed(dir, entry);
      return;
    }
    if (name === '..') throw new SquibError('invalid-argument', 'path contains "..": refused');
    checkLength(name);
    if (name.charCodeAt(0) === 0x2e && name.startsWith(WHITEOUT)) {
      this.#whiteout(dir, name);
      return;
    }
    if (dir.includes(AUFS_META) && dir.split('/').some((part) => part.startsWith(AUFS_META))) return;
    this.#place(this.#parents.ensure(dir), name, entry);
  }

  data(bytes: Uint8Array): void {
    if (this.#writing) this.#content.write(bytes);
  }

  hole(bytes: number): void {
    if (this.#writing) this.#content.hole(bytes);
  }

  end(): void {
    if (this.#writing) this.#content.endFile();
    this.#writing = false;
  }

  /** `./`, `/` and `dir/.`: a directory that has another name, or the root. */
  #unnamed(dir: string, entry: TarEntry): void {
    if (entry.kind !== 'directory')
      throw new SquibError('invalid-argument', `a ${entry.kind} cannot be the root`);
    const node = this.#parents.ensure(dir);
    this.#describe(node, entry);
  }

  #place(parent: NodeId, name: string, entry: TarEntry): void {
    const tree = this.#tree;
    this.#touch(parent);
    this.#budget.takeName(name);
    // Before the name goes: the target may be the very same.
    const target = entry.kind === 'link' ? this.#linkTarget(entry.linkPath) : undefined;
    const existing = tree.lookup(parent, name);
    if (existing !== undefined) {
      if (entry.kind === 'directory' && tree.isDirectory(existing)) {
        this.#describe(existing, entry);
        return;
      }
      if (existing === target) {
        this.#links.add(`${parent}/${name}`);
        return;
      }
      this.#remove(parent, name, existing);
    }
    if (target !== undefined) {
      if (tree.links(target) === 0) throw new SquibError('not-found', `hard link replaces its own target`);
      tree.link(parent, name, target);
      if (target < this.#firstOwn) this.#links.add(`${parent}/${name}`);
      return;
    }
    const node = tree.add(parent, name, attributesOf(entry));
    this.#takeXattrs(entry.xattrs);
    if (entry.kind === 'symlink') this.#budget.takeAttribute(entry.linkPath.length);
    if (entry.kind !== 'file') return;
    this.#content.beginFile(node, entry.size);
    this.#writing = true;
  }

  /** A directory that is there gets other attributes. */
  #describe(directory: NodeId, entry: TarEntry): void {
    this.#touch(directory);
    this.#takeXattrs(entry.xattrs);
    this.#tree.setAttributes(directory, attributesOf(entry));
  }

  #takeXattrs(xattrs: ReadonlyMap<string, Uint8Array> | undefined): void {
    if (xattrs === undefined) return;
    for (const [name, value] of xattrs) this.#budget.takeAttribute(name.length + value.length);
  }

  #linkTarget(path: string): NodeId {
    const end = path.endsWith('/') ? path.length - 1 : path.length;
    const slash = path.lastIndexOf('/', end - 1);
    const name = path.slice(slash + 1, end);
    if (name === '..') throw new SquibError('invalid-argument', 'hard link\'s target contains "..": refused');
    const parent = this.#parents.find(slash === -1 ? '' : path.slice(0, slash));
    const node = parent === undefined ? undefined : this.#tree.lookup(parent, name);
    const shown = JSON.stringify(path.slice(0, 200));
    if (node === undefined) throw new SquibError('not-found', `hard link to ${shown}, which does not exist`);
    if (this.#tree.isDirectory(node)) {
      throw new SquibError('invalid-argument', `hard link to ${shown}, which is a directory`);
    }
    return node;
  }

  #remove(parent: NodeId, name: string, node: NodeId): void {
    const type = this.#tree.mode(node) & 0o170000;
    this.#tree.remove(parent, name);
    if (type === S_IFDIR || type === S_IFLNK) this.#parents.forget();
  }

  #whiteout(dir: string, name: string): void {
    if (name === OPAQUE) {
      const directory = this.#parents.ensure(dir);
      this.#touch(directory);
      if (!this.#base) this.#hideChildren(directory);
      return;
    }
    if (name.startsWith(AUFS_META)) return;
    const hidden = name.slice(WHITEOUT.length);
    if (hidden === '' || hidden === '.' || hidden === '..') {
      throw new SquibError('invalid-argument', `whiteout of ${JSON.stringify(hidden)}: no name to hide`);
    }
    const parent = this.#base ? undefined : this.#parents.find(dir);
    const node = parent === undefined ? undefined : this.#tree.lookup(parent, hidden);
    if (parent !== undefined && node !== undefined) this.#hide(parent, hidden, node);
  }

  /** Takes away what layers below put under a name; what this layer has there stays. */
  #hide(parent: NodeId, name: string, node: NodeId): void {
    if (node >= this.#firstOwn || this.#links.has(`${parent}/${name}`)) return;
    if (!this.#touched.has(node)) this.#remove(parent, name, node);
    else if (this.#tree.isDirectory(node)) this.#hideChildren(node);
  }

  #hideChildren(directory: NodeId): void {
    const tree = this.#tree;
    const pending = [directory];
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      for (const { name, node } of [...tree.children(at)]) {
        if (node >= this.#firstOwn || this.#links.has(`${at}/${name}`)) continue;
        if (!this.#touched.has(node)) this.#remove(at, name, node);
        else if (tree.isDirectory(node)) pending.push(node);
      }
    }
  }

  /** Marks a directory and those above it as holding something of this layer; those of an own one are, since it was made. */
  #touch(directory: NodeId): void {
    if (this.#base) return;
    let at = directory;
    while (at < this.#firstOwn && !this.#touched.has(at)) {
      this.#touched.add(at);
      at = this.#tree.parent(at);
    }
  }
}

function attributesOf(entry: TarEntry): Attributes {
  const { mode, uid, gid, mtimeSeconds, mtimeNanos } = entry;
  const attributes: { -readonly [K in keyof Attributes]: Attributes[K] } = {
    mode: TYPES[entry.kind] | mode,
    uid,
    gid,
    mtimeSeconds,
    mtimeNanos,
  };
  switch (entry.kind) {
    case 'character':
    case 'block':
      attributes.rdevMajor = entry.rdevMajor;
      attributes.rdevMinor = entry.rdevMinor;
      break;
    case 'symlink':
      attributes.target = entry.linkPath;
  }
  if (entry.xattrs !== undefined) attributes.xattrs = entry.xattrs;
  return attributes;
}
