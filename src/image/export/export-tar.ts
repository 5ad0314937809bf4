import { SquibError } from '../../base/errors.ts';
import type { Inode } from '../ext4/read/inode.ts';
import { type Step, walk } from '../ext4/read/walk.ts';
import type { Ext4Reader } from '../ext4/reader.ts';
import { type LayerNode, layerNode } from './layer-node.ts';
import { sparseMap } from './sparse-map.ts';
import { BLOCK_BYTES, padded, type TarEntry, tarHeader } from './tar-header.ts';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
const END_BLOCKS = 2;
const ZEROES = new Uint8Array(64 * 1024);
/** lost+found, which mke2fs and fsck make. */
const LOST_FOUND_INODE = 11;

export interface ExportOptions {
  /** Where in the image the tree starts: latin1, '' for the root. */
  readonly start: string;
  /**
   * The tree is an overlay's upper directory: whiteouts become `.wh.NAME`, opaque directories get
   * `.wh..wh..opq`, overlayfs' attributes go, as an OCI layer has it.
   */
  readonly isLayer: boolean;
  /** Takes the next bytes of the archive; they are valid during the call only. */
  readonly write: (bytes: Uint8Array) => void;
  /** Called after each entry. */
  readonly progress?: (stats: ExportStats) => void;
}

export interface ExportStats {
  entries: number;
  /** Of the archive. */
  bytes: number;
  /** Sockets, which a tar cannot hold. */
  skipped: number;
}

/**
 * Writes a tree of an image as a tar (ustar with pax where that has no room). Files with holes of
 * a megabyte and more become sparse files of pax 1.0, which GNU, libarchive and Go read.
 * @throws SquibError as the reader does; the archive is cut then.
 */
export function exportTar(reader: Ext4Reader, options: ExportOptions): ExportStats {
  const start = reader.resolve(options.start, true);
  if (start.type !== 'directory')
    throw new SquibError('invalid-argument', `"${options.start}" is a ${start.type}; expected a directory`);
  const archive = new Archive(reader, options);
  for (const step of walk(reader, start)) {
    if (step.kind === 'leave') continue;
    archive.add(step);
    options.progress?.(archive.stats);
  }
  archive.end();
  return archive.stats;
}

class Archive {
  readonly stats: ExportStats = { entries: 0, bytes: 0, skipped: 0 };
  readonly #reader: Ext4Reader;
  readonly #options: ExportOptions;

  constructor(reader: Ext4Reader, options: ExportOptions) {
    this.#reader = reader;
    this.#options = options;
  }

  add(step: Step): void {
    const { path, name, inode } = step;
    const { isLayer } = this.#options;
    if (path === 'lost+found' && inode.number === LOST_FOUND_INODE) return;
    if (inode.type === 'socket') {
      this.stats.skipped++;
      return;
    }
    if (!isLayer) {
      this.#node(step, this.#reader.xattrs(inode));
      return;
    }
    if (name.startsWith(WHITEOUT))
      throw new SquibError(
        'unimplemented',
        `"${path}": a name that begins with "${WHITEOUT}" means a deletion in a layer`,
      );
    const node = layerNode(this.#reader, inode, path);
    const directory = path.slice(0, path.length - name.length);
    if (node.isWhiteout) this.#mark(`${directory}${WHITEOUT}${name}`, inode);
    else this.#layerNode(step, node);
  }

  /** Two zero blocks end an archive. */
  end(): void {
    this.#write(ZEROES.subarray(0, END_BLOCKS * BLOCK_BYTES));
  }

  #layerNode(step: Step, node: LayerNode): void {
    // The root of a layer is no change.
    if (step.path !== '') this.#node(step, node.xattrs);
    if (node.isOpaque) this.#mark(step.path === '' ? OPAQUE : `${step.path}/${OPAQUE}`, step.inode);
  }

  #mark(path: string, { mtimeSeconds, mtimeNanos }: Inode): void {
    this.#header({ path, type: 'file', permissions: 0, uid: 0, gid: 0, size: 0, mtimeSeconds, mtimeNanos });
  }

  #node({ path, inode, linkTo }: Step, xattrs: ReadonlyMap<string, Uint8Array>): void {
    const { type, permissions, uid, gid, mtimeSeconds, mtimeNanos, rdevMajor, rdevMinor } = inode;
    const attributes = { path, permissions, uid, gid, size: 0, mtimeSeconds, mtimeNanos, xattrs };
    if (linkTo !== undefined) {
      // The attributes came with the first name.
      this.#header({ ...attributes, type: 'link', linkPath: linkTo, xattrs: new Map() });
    } else if (type === 'file') {
      this.#file(inode, attributes);
    } else if (type === 'symlink') {
      this.#header({ ...attributes, type, linkPath: this.#reader.target(inode) });
    } else if (type === 'directory') {
      this.#header({ ...attributes, type, path: path === '' ? './' : `${path}/` });
    } else if (type !== 'socket') {
      this.#header({ ...attributes, type, rdevMajor, rdevMinor });
    }
  }

  #file(inode: Inode, attributes: Omit<TarEntry, 'type'>): void {
    const sparse = sparseMap(this.#reader, inode, attributes.path);
    if (sparse === undefined) {
      this.#header({ ...attributes, type: 'file', size: inode.size });
      this.#content(inode, true);
      this.#pad(inode.size);
    } else {
      const { path, records, dataBytes, mapBytes } = sparse;
      const size = mapBytes + dataBytes;
      this.#header({ ...attributes, type: 'file', path, records, size });
      for (const text of sparse.map()) this.#write(text);
      this.#pad(mapBytes - sparse.mapPadding);
      this.#content(inode, false);
      this.#pad(size);
    }
  }

  #content(inode: Inode, withHoles: boolean): void {
    let at = 0;
    for (const { position, bytes } of this.#reader.content(inode)) {
      if (withHoles) this.#zeroes(position - at);
      this.#write(bytes);
      at = position + bytes.length;
    }
    if (withHoles) this.#zeroes(inode.size - at);
  }

  #zeroes(count: number): void {
    for (let left = count; left > 0; left -= ZEROES.length)
      this.#write(ZEROES.subarray(0, Math.min(left, ZEROES.length)));
  }

  #pad(length: number): void {
    this.#zeroes(padded(length) - length);
  }

  #header(entry: TarEntry): void {
    this.stats.entries++;
    this.#write(tarHeader(entry));
  }

  #write(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.stats.bytes += bytes.length;
    this.#options.write(bytes);
  }
}
