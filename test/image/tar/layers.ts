import { TarBudget } from '../../../src/image/tar/budget.ts';
import { type ContentSink, LayerSink } from '../../../src/image/tar/layer.ts';
import type { TarLimits } from '../../../src/image/tar/limits.ts';
import { TarScanner } from '../../../src/image/tar/scanner.ts';
import { type NodeId, S_IFLNK, S_IFMT, Tree } from '../../../src/image/tree.ts';
import { archive, type Member } from './archive.ts';

/** Content in memory, in the place of an image's data area. */
class Contents implements ContentSink {
  readonly of = new Map<NodeId, Buffer>();
  #node = -1;
  #size = 0;
  #parts: Buffer[] = [];

  beginFile(node: NodeId, size: number): void {
    this.#node = node;
    this.#size = size;
    this.#parts = [];
  }

  write(chunk: Uint8Array): void {
    this.#parts.push(Buffer.from(chunk));
  }

  hole(bytes: number): void {
    this.#parts.push(Buffer.alloc(bytes));
  }

  endFile(): void {
    const content = Buffer.concat(this.#parts);
    if (content.length !== this.#size) throw new Error('content is not as long as it says');
    this.of.set(this.#node, content);
  }
}

export interface Applied {
  readonly tree: Tree;
  /** Every path with what is there: `a/ dir`, `b=content`, `c -> target`; sorted. */
  readonly lines: readonly string[];
  readonly content: ReadonlyMap<NodeId, Buffer>;
}

export function apply(layers: readonly (readonly Member[])[], limits?: Partial<TarLimits>): Applied {
  const tree = new Tree();
  const contents = new Contents();
  tree.onRelease = (node) => contents.of.delete(node);
  const budget = new TarBudget(limits);
  for (const members of layers) {
    const scanner = new TarScanner(new LayerSink(tree, contents, budget), budget);
    scanner.push(archive(...members));
    scanner.finish();
  }
  return { tree, lines: list(tree, contents.of), content: contents.of };
}

function list(tree: Tree, contents: ReadonlyMap<NodeId, Buffer>): string[] {
  const lines: string[] = [];
  const pending: [NodeId, string][] = [[tree.root, '']];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [directory, prefix] = next;
    for (const { name, node } of tree.children(directory)) {
      const path = prefix + name;
      if (tree.isDirectory(node)) pending.push([node, `${path}/`]);
      lines.push(path + shown(tree, node, contents));
    }
  }
  return lines.sort();
}

function shown(tree: Tree, node: NodeId, contents: ReadonlyMap<NodeId, Buffer>): string {
  if (tree.isDirectory(node)) return '/';
  if ((tree.mode(node) & S_IFMT) === S_IFLNK) return ` -> ${tree.attributes(node).target}`;
  const links = tree.links(node);
  return `=${contents.get(node)?.toString('latin1') ?? ''}${links > 1 ? ` (${links} links)` : ''}`;
}
