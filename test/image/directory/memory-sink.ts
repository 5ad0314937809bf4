import { readSync } from 'node:fs';
import { flattenDirectories, type ImageSink } from '../../../src/image/directory/flatten.ts';
import { Libc } from '../../../src/image/directory/libc.ts';
import type { DirectoryKind } from '../../../src/image/directory/overlay-xattrs.ts';
import { type Attributes, type NodeId, S_IFMT, Tree } from '../../../src/image/tree.ts';

/** Takes what an image would hold into memory. */
export class MemorySink implements ImageSink {
  readonly tree = new Tree();
  readonly contents = new Map<NodeId, string>();
  readonly data: ImageSink['data'] = {
    copyFrom: (node, fd, size) => {
      const bytes = Buffer.alloc(size);
      const read = readSync(fd, bytes, 0, size, 0);
      this.contents.set(node, bytes.toString('latin1', 0, read));
    },
  };
}

export interface Listed extends Attributes {
  readonly node: NodeId;
  readonly content: string | undefined;
}

const libc = await Libc.load();

/** Flattens, and lists everything by its path; the root's is ''. */
export function flattened(
  layers: readonly string[],
  kind: DirectoryKind = 'overlay',
  namespace: 'trusted' | 'user' = 'trusted',
): Map<string, Listed> {
  const sink = new MemorySink();
  const { tree } = sink;
  const bytes = layers.map((layer) => Buffer.from(layer).toString('latin1'));
  flattenDirectories(sink, tree.root, { kind, layers: bytes, namespace }, libc);
  const listed = new Map<string, Listed>();
  const pending: [string, NodeId][] = [['', tree.root]];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [path, node] = next;
    listed.set(path, { ...tree.attributes(node), node, content: sink.contents.get(node) });
    if (tree.isDirectory(node)) {
      for (const child of tree.children(node))
        pending.push([path === '' ? child.name : `${path}/${child.name}`, child.node]);
    }
  }
  return listed;
}

export const typeOf = (entry: Attributes): number => entry.mode & S_IFMT;
