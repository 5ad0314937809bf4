import { SquibError } from '../../../base/errors.ts';
import type { Ext4Reader } from '../reader.ts';
import { corrupt } from './corrupt.ts';
import type { Entry } from './entries.ts';
import type { Inode } from './inode.ts';

/** Deeper than any tree that a path of PATH_MAX bytes with names of three letters can name. */
const DEPTH_MAX = 1024;
/** PATH_MAX of Linux. */
const PATH_BYTES_MAX = 4096;
/** Files and directories of one tree; a full root of a large distribution has under one million. */
const ENTRIES_MAX = 4_000_000;
/** Names of files with several links, which are kept to be linked to. */
const LINK_NAMES_BYTES_MAX = 64 << 20;

/** One step of a walk: a directory is entered, then its content, then it is left. */
export interface Step {
  readonly kind: 'entry' | 'leave';
  /** Below the start, without a slash in front, latin1; '' is the start itself. */
  readonly path: string;
  readonly name: string;
  readonly inode: Inode;
  /** The path under which this file came before; undefined: it did not. */
  readonly linkTo: string | undefined;
}

interface Level {
  readonly path: string;
  readonly name: string;
  readonly inode: Inode;
  readonly entries: Iterator<Entry>;
}

/**
 * Walks a tree in stored order, without recursion. A directory that turns up twice, a loop among
 * them, is an error, and so is whatever goes over a limit above.
 * @throws SquibError `data-loss` or `resource-exhausted`, naming the path.
 */
export function* walk(reader: Ext4Reader, start: Inode): Generator<Step> {
  reader.work.renew();
  const seen = new Set([start.number]);
  const links = new Links();
  let count = 0;
  const stack: Level[] = [{ path: '', name: '', inode: start, entries: reader.entries(start) }];
  yield { kind: 'entry', path: '', name: '', inode: start, linkTo: undefined };
  for (let level = stack.at(-1); level; level = stack.at(-1)) {
    const { value: entry, done } = level.entries.next();
    if (done) {
      stack.pop();
      yield { kind: 'leave', path: level.path, name: level.name, inode: level.inode, linkTo: undefined };
      continue;
    }
    const { name } = entry;
    const path = level.path === '' ? name : `${level.path}/${name}`;
    if (++count > ENTRIES_MAX)
      throw new SquibError('resource-exhausted', `more than ${ENTRIES_MAX} files, at "${path}"`);
    if (path.length > PATH_BYTES_MAX)
      throw new SquibError(
        'resource-exhausted',
        `a path of ${path.length} bytes, at most ${PATH_BYTES_MAX}: "${path}"`,
      );
    const inode = inodeAt(reader, entry.inode, path);
    if (inode.type !== 'directory') {
      yield { kind: 'entry', path, name, inode, linkTo: links.note(inode, path) };
      continue;
    }
    if (seen.has(inode.number)) throw corrupt(`"${path}" is directory ${inode.number}, which came before`);
    seen.add(inode.number);
    if (stack.length >= DEPTH_MAX)
      throw new SquibError('resource-exhausted', `directories nest deeper than ${DEPTH_MAX}, at "${path}"`);
    yield { kind: 'entry', path, name, inode, linkTo: undefined };
    stack.push({ path, name, inode, entries: reader.entries(inode) });
  }
}

function inodeAt(reader: Ext4Reader, number: number, path: string): Inode {
  try {
    return reader.inode(number);
  } catch (thrown) {
    if (!(thrown instanceof SquibError)) throw thrown;
    throw new SquibError(thrown.code, `"${path}": ${thrown.message}`);
  }
}

/** First names of the files that have more than one. */
class Links {
  readonly #paths = new Map<number, string>();
  #bytes = 0;

  note(inode: Inode, path: string): string | undefined {
    if (inode.links < 2) return undefined;
    const first = this.#paths.get(inode.number);
    if (first !== undefined) return first;
    this.#bytes += path.length;
    if (this.#bytes > LINK_NAMES_BYTES_MAX)
      throw new SquibError(
        'resource-exhausted',
        `names of linked files take more than ${LINK_NAMES_BYTES_MAX} bytes, at "${path}"`,
      );
    this.#paths.set(inode.number, path);
    return undefined;
  }
}
