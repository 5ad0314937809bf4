import { closeSync, constants, createWriteStream, openSync, statSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { SquibError } from '../../base/errors.ts';

const { O_NONBLOCK, O_RDWR, O_WRONLY } = constants;

/** Where a container's stdout or stderr goes. */
export interface Output {
  readonly stream: Writable;
  /** Whether anybody would read what is written now. */
  hasReader(): boolean;
  /** Lets go of the target; a reader of a FIFO gets the rest and then EOF. Idempotent. */
  close(): void;
}

/**
 * Opens what containerd names as stdout or stderr: a FIFO, or a file that is appended to. Never
 * blocks.
 * @throws SquibError `unimplemented` for another URI scheme, `failed-precondition` when it cannot
 *   be opened.
 */
export function openOutput(target: string): Output {
  const path = pathOf(target);
  try {
    return isFifo(path) ? openFifo(path) : openFile(path);
  } catch (thrown) {
    throw new SquibError('failed-precondition', `output "${path}" cannot be opened`, { cause: thrown });
  }
}

function isFifo(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFIFO() ?? false;
}

function pathOf(target: string): string {
  if (target.startsWith('/')) return target;
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(target)?.[1];
  if (scheme === 'fifo' || scheme === 'file') return new URL(target).pathname;
  throw new SquibError(
    'unimplemented',
    `output "${target}"; expected the path of a FIFO or a file, or a fifo:// or file:// URI`,
  );
}

/**
 * Two descriptors: `writer` for the bytes, and `keeper` (O_RDWR, so it never blocks and counts as
 * a reader), which spares the container an EPIPE while nobody is attached.
 */
function openFifo(path: string): Output {
  let keeper: number | undefined = openSync(path, O_RDWR | O_NONBLOCK);
  let writer: number;
  try {
    writer = openSync(path, O_WRONLY | O_NONBLOCK);
  } catch (thrown) {
    closeSync(keeper);
    throw thrown;
  }
  const stream = new Socket({ fd: writer, readable: false, writable: true });
  // The path may be gone by now; the descriptor still leads to the same FIFO.
  const again = `/proc/self/fd/${writer}`;
  return {
    stream,
    hasReader() {
      if (keeper === undefined || stream.destroyed) return false;
      // All in one turn of the loop: libuv never sees the FIFO without the keeper, and the bytes
      // inside live as long as `writer` does.
      closeSync(keeper);
      keeper = undefined;
      const read = canOpenForWriting(again);
      keeper = openSync(again, O_RDWR | O_NONBLOCK);
      return read;
    },
    close() {
      if (keeper !== undefined) closeSync(keeper);
      keeper = undefined;
      stream.destroy();
    },
  };
}

/** Opening for writing without blocking fails with ENXIO exactly when there is no reader. */
function canOpenForWriting(path: string): boolean {
  try {
    closeSync(openSync(path, O_WRONLY | O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

function openFile(path: string): Output {
  const fd = openSync(path, 'a', 0o600);
  const stream = createWriteStream(path, { fd, autoClose: true });
  return { stream, hasReader: () => true, close: () => stream.destroy() };
}
