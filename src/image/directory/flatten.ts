import { closeSync } from 'node:fs';
import { SquibError } from '../../base/errors.ts';
import type { DataArea } from '../data-area.ts';
import { type Attributes, type NodeId, S_IFLNK, S_IFMT, S_IFREG, type Tree } from '../tree.ts';
import { FileCopier } from './file-copier.ts';
import { type FileStatus, isDirectory, isWhiteout } from './file-status.ts';
import { DT_DIR, LayerReader, textOf } from './layer.ts';
import type { Libc } from './libc.ts';
import {
  belongsIntoImage,
  type DirectoryKind,
  isOpaque,
  OPAQUE,
  type OverlayNamespace,
} from './overlay-xattrs.ts';

/** What flattening fills. */
export interface ImageSink {
  readonly tree: Tree;
  readonly data: Pick<DataArea, 'copyFrom'>;
}

export interface FlattenRequest {
  readonly kind: DirectoryKind;
  /** Absolute, top-most first, one character per byte (latin1). */
  readonly layers: readonly string[];
  readonly namespace: OverlayNamespace;
}

/**
 * Puts the merged view of directories under `target` of the sink, whose own attributes become the
 * top-most directory's. Top-down: the first layer that has a name decides, directories merge. The order
 * of everything depends on names alone, so the same layers give the same image on any host.
 * @throws SquibError `aborted` when a file disappears or changes meanwhile, `unimplemented` for
 *   layers that overlay features made which containerd does not use.
 */
export function flattenDirectories(
  sink: ImageSink,
  target: NodeId,
  request: FlattenRequest,
  libc: Libc,
): void {
  new Flattening(sink, request, libc).run(target);
}

/** One merged directory: its path below every layer's root, and the layers whose entries show. */
interface Merged {
  readonly node: NodeId;
  readonly path: string;
  readonly layers: readonly number[];
}

interface Found {
  /** Of the layer that decides, DT_…. */
  readonly type: number;
  readonly layers: number[];
  /** The layers below add nothing. */
  closed: boolean;
}

class Flattening {
  readonly #sink: ImageSink;
  readonly #request: FlattenRequest;
  readonly #reader: LayerReader;
  readonly #copier: FileCopier;
  /** First node of each file with several links, by layer and inode: overlayfs does not link across layers. */
  readonly #linked = new Map<string, NodeId>();

  constructor(sink: ImageSink, request: FlattenRequest, libc: Libc) {
    this.#sink = sink;
    this.#request = request;
    this.#reader = new LayerReader(libc);
    this.#copier = new FileCopier(libc);
  }

  run(target: NodeId): void {
    const all = this.#request.layers.map((_, i) => i);
    const root: Merged = { node: target, path: '', layers: this.#untilOpaque('', all) };
    const status = this.#reader.status(this.#root(0));
    if (!isDirectory(status))
      throw new SquibError('invalid-argument', `${textOf(this.#root(0))} is not a directory`);
    this.#sink.tree.setAttributes(target, this.#attributes(status, this.#root(0)));
    const pending = [root];
    for (let at = pending.pop(); at; at = pending.pop()) {
      const below = this.#directory(at);
      for (let i = below.length - 1; i >= 0; i--) pending.push(below[i] as Merged);
    }
  }

  /** Adds everything of one merged directory; gives the directories in it, in order. */
  #directory(merged: Merged): Merged[] {
    const found = this.#merge(merged);
    const below: Merged[] = [];
    for (const name of [...found.keys()].sort()) {
      const { layers } = found.get(name) as Found;
      const layer = layers[0] as number;
      const path = `${merged.path}/${name}`;
      const hostPath = this.#root(layer) + path;
      const status = this.#reader.status(hostPath);
      if (isDirectory(status)) {
        const node = this.#sink.tree.add(merged.node, name, this.#attributes(status, hostPath));
        below.push({ node, path, layers });
      } else if (this.#request.kind !== 'overlay' || !isWhiteout(status)) {
        this.#file({ parent: merged.node, name, layer, hostPath, status });
      }
    }
    return below;
  }

  #merge({ path, layers }: Merged): Map<string, Found> {
    const found = new Map<string, Found>();
    const last = layers[layers.length - 1];
    for (const layer of layers) {
      for (const { name, type } of this.#reader.entries(this.#root(layer) + path)) {
        const known = found.get(name);
        if (!known) {
          const closed = type !== DT_DIR || layer === last || this.#isOpaque(layer, `${path}/${name}`);
          found.set(name, { type, layers: [layer], closed });
        } else if (!known.closed) {
          // A deletion or another kind of file hides the directories below it as well.
          known.closed = type !== DT_DIR;
          if (known.closed) continue;
          known.layers.push(layer);
          known.closed = layer === last || this.#isOpaque(layer, `${path}/${name}`);
        }
      }
    }
    return found;
  }

  /** The root's layers: opaque marks count there too. */
  #untilOpaque(path: string, layers: readonly number[]): readonly number[] {
    if (layers.length === 1) return layers;
    const end = layers.findIndex((layer) => this.#isOpaque(layer, path));
    return end < 0 ? layers : layers.slice(0, end + 1);
  }

  #isOpaque(layer: number, path: string): boolean {
    const name = `${this.#request.namespace}.${OPAQUE}`;
    return isOpaque(this.#reader.xattr(this.#root(layer) + path, name));
  }

  #file(file: { parent: NodeId; name: string; layer: number; hostPath: string; status: FileStatus }): void {
    const { parent, name, layer, hostPath, status } = file;
    const { tree } = this.#sink;
    const key = status.links > 1 ? `${layer}/${status.identity}` : undefined;
    const first = key === undefined ? undefined : this.#linked.get(key);
    if (first !== undefined) {
      tree.link(parent, name, first);
      return;
    }
    const node = tree.add(parent, name, this.#attributes(status, hostPath));
    if (key !== undefined) this.#linked.set(key, node);
    if ((status.mode & S_IFMT) === S_IFREG && status.size > 0) this.#content(node, hostPath, status);
  }

  #content(node: NodeId, hostPath: string, status: FileStatus): void {
    const fd = this.#reader.open(hostPath);
    try {
      this.#sink.data.copyFrom(node, fd, status.size, this.#copier.options(fd, status));
    } catch (cause) {
      throw contentError(hostPath, cause);
    } finally {
      closeSync(fd);
    }
  }

  #attributes(status: FileStatus, hostPath: string): Attributes {
    const xattrs = this.#xattrs(hostPath);
    const isLink = (status.mode & S_IFMT) === S_IFLNK;
    return {
      mode: status.mode,
      uid: status.uid,
      gid: status.gid,
      mtimeSeconds: status.mtimeSeconds,
      mtimeNanos: status.mtimeNanos,
      rdevMajor: status.rdevMajor,
      rdevMinor: status.rdevMinor,
      ...(xattrs ? { xattrs } : {}),
      ...(isLink ? { target: this.#reader.target(hostPath) } : {}),
    };
  }

  #xattrs(hostPath: string): ReadonlyMap<string, Uint8Array> | undefined {
    const names = this.#reader.xattrNames(hostPath);
    if (names.length === 0) return undefined;
    const { kind, namespace } = this.#request;
    const xattrs = new Map<string, Uint8Array>();
    for (const name of names) {
      if (!belongsIntoImage(name, kind, namespace)) continue;
      const value = this.#reader.xattr(hostPath, name);
      if (value) xattrs.set(name, value);
    }
    return xattrs;
  }

  #root(layer: number): string {
    return this.#request.layers[layer] as string;
  }
}

/** Names the file, unless the image's own file is what failed. */
function contentError(hostPath: string, cause: unknown): unknown {
  return cause instanceof SquibError && cause.code === 'aborted'
    ? new SquibError('aborted', textOf(hostPath), { cause })
    : cause;
}
