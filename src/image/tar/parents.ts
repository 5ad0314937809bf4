import { SquibError } from '../../base/errors.ts';
import { type NodeId, S_IFDIR, S_IFLNK, S_IFMT, type Tree } from '../tree.ts';

/** A name in a directory of Linux. */
const NAME_BYTES_MAX = 255;
/** As Linux: more symlinks than this on one way are a loop. */
const SYMLINKS_MAX = 40;
/** Remembered directories; more of them cost more memory than walking costs time. */
const CACHE_ENTRIES_MAX = 65_536;

/** What a parent that no entry describes is made with. */
const IMPLIED = { mode: S_IFDIR | 0o755, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanos: 0 };

/**
 * Finds the directory that an entry's path leads to, as the kernel would in a process whose root
 * the image is: symlinks on the way are followed and never lead out, `..` in a symlink's target
 * stops at the root. `..` in an entry's own path is refused.
 */
export class Parents {
  readonly #tree: Tree;
  readonly #depthMax: number;
  readonly #made: (directory: NodeId, name: string) => void;
  readonly #known = new Map<string, NodeId>();
  #lastPath = '';
  #last: NodeId;

  /** @param made is told of every directory that had to be made. */
  constructor(tree: Tree, depthMax: number, made: (directory: NodeId, name: string) => void) {
    this.#tree = tree;
    this.#depthMax = depthMax;
    this.#made = made;
    this.#last = tree.root;
  }

  /** To be called whenever a directory or a symlink goes: what was found may lead elsewhere now. */
  forget(): void {
    this.#known.clear();
    this.#lastPath = '';
    this.#last = this.#tree.root;
  }

  /** The directory at a path; what is missing is made. @throws SquibError invalid-argument, resource-exhausted */
  ensure(path: string): NodeId {
    if (path === this.#lastPath) return this.#last;
    const node = this.#known.get(path) ?? (this.#walk(path, true) as NodeId);
    if (this.#known.size >= CACHE_ENTRIES_MAX) this.#known.clear();
    this.#known.set(path, node);
    this.#lastPath = path;
    this.#last = node;
    return node;
  }

  /** The directory at a path, or undefined; makes nothing. @throws SquibError invalid-argument on a bad path */
  find(path: string): NodeId | undefined {
    return path === this.#lastPath ? this.#last : (this.#known.get(path) ?? this.#walk(path, false));
  }

  /** Work left to do is a stack of names, so that a symlink's target is just more of them. */
  #walk(path: string, make: boolean): NodeId | undefined {
    const tree = this.#tree;
    const names = path.split('/').reverse();
    if (names.includes('..')) throw new SquibError('invalid-argument', 'path contains "..": refused');
    let at = tree.root;
    let depth = 0;
    let symlinks = 0;
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (at !== tree.root) depth--;
        at = tree.parent(at);
        continue;
      }
      checkLength(name);
      const next = tree.lookup(at, name);
      if (next === undefined && !make) return undefined;
      if (next !== undefined && (tree.mode(next) & S_IFMT) === S_IFLNK) {
        if (++symlinks > SYMLINKS_MAX) {
          throw new SquibError('invalid-argument', `more than ${SYMLINKS_MAX} symlinks on the way: a loop`);
        }
        const target = tree.attributes(next).target as string;
        if (target.startsWith('/')) {
          at = tree.root;
          depth = 0;
        }
        names.push(...target.split('/').reverse());
        continue;
      }
      if (++depth > this.#depthMax) {
        throw new SquibError('resource-exhausted', `more than ${this.#depthMax} directories deep`);
      }
      if (next !== undefined && !tree.isDirectory(next)) {
        if (!make) return undefined;
        throw new SquibError('invalid-argument', `${JSON.stringify(name)} on the way is not a directory`);
      }
      at = next ?? this.#make(at, name);
    }
    return at;
  }

  #make(parent: NodeId, name: string): NodeId {
    const node = this.#tree.add(parent, name, IMPLIED);
    this.#made(node, name);
    return node;
  }
}

export function checkLength(name: string): void {
  if (name.length <= NAME_BYTES_MAX) return;
  throw new SquibError(
    'invalid-argument',
    `name of ${name.length} bytes (${name.slice(0, 20)}…), at most ${NAME_BYTES_MAX} are possible`,
  );
}
