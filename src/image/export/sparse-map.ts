import type { Inode } from '../ext4/read/inode.ts';
import type { Ext4Reader } from '../ext4/reader.ts';
import { padded } from './tar-header.ts';

/** Holes of less than this together are written as zeroes, which every reader of tars understands. */
const HOLES_BYTES_MIN = 1 << 20;
/** Text of the map that is handed on at once. */
const TEXT_CHARACTERS = 64 * 1024;

/** A file as sparse file of pax 1.0: a map in decimal, padded, then the data without its holes. */
export interface SparseMap {
  /** What readers see that do not know sparse files. */
  readonly path: string;
  readonly records: readonly (readonly [string, string])[];
  /** Of the map, with its padding. */
  readonly mapBytes: number;
  readonly mapPadding: number;
  readonly dataBytes: number;
  /** The map's text, without its padding. */
  map(): Generator<Uint8Array>;
}

/**
 * Plans how a file with large holes is written; undefined for one without. The map is made twice
 * from the extents rather than kept: a file may have millions.
 */
export function sparseMap(reader: Ext4Reader, inode: Inode, path: string): SparseMap | undefined {
  if (inode.isInline || inode.size < HOLES_BYTES_MIN) return undefined;
  let count = 0;
  let dataBytes = 0;
  let digits = 0;
  for (const [position, bytes] of segments(reader, inode)) {
    count++;
    dataBytes += bytes;
    digits += `${position}\n${bytes}\n`.length;
  }
  if (inode.size - dataBytes < HOLES_BYTES_MIN) return undefined;
  const textBytes = `${count}\n`.length + digits;
  const mapBytes = padded(textBytes);
  const slash = path.lastIndexOf('/') + 1;
  return {
    path: `${path.slice(0, slash)}GNUSparseFile.0/${path.slice(slash)}`,
    records: [
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', path],
      ['GNU.sparse.realsize', `${inode.size}`],
    ],
    mapBytes,
    mapPadding: mapBytes - textBytes,
    dataBytes,
    *map() {
      let text = `${count}\n`;
      for (const [position, bytes] of segments(reader, inode)) {
        text += `${position}\n${bytes}\n`;
        if (text.length < TEXT_CHARACTERS) continue;
        yield Buffer.from(text, 'latin1');
        text = '';
      }
      yield Buffer.from(text, 'latin1');
    },
  };
}

/**
 * Stretches of data [position, bytes], neighbours joined wherever they lie in the image. A file
 * that ends in a hole gets an empty one at its end, from which readers that seek see the size.
 */
function* segments(reader: Ext4Reader, inode: Inode): Generator<[number, number]> {
  let start = 0;
  let end = 0;
  let isOpen = false;
  for (const { position, bytes } of reader.runs(inode)) {
    if (isOpen && position === end) {
      end += bytes;
      continue;
    }
    if (isOpen) yield [start, end - start];
    isOpen = true;
    start = position;
    end = position + bytes;
  }
  if (isOpen) yield [start, end - start];
  if (end < inode.size) yield [inode.size, 0];
}
