import { closeSync, fstatSync, openSync, read, readSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { describe, SquibError } from '../../base/errors.ts';
import type { TarScanner } from './scanner.ts';

/** A file, or an open descriptor (0: standard input), which stays open, under a name for messages. */
export type TarSource = { readonly path: string } | { readonly fd: number; readonly name: string };

export type Compression = 'none' | 'gzip' | 'zstd';

const CHUNK_BYTES = 1_048_576;
/** Enough for every magic number below. */
const MAGIC_BYTES = 6;
/** A frame may ask for this much memory (128 MiB is what `zstd` itself takes unasked); more is refused. */
const ZSTD_WINDOW_LOG_MAX = 27;
/** How long a descriptor that has nothing to read yet is left alone. */
const NOT_READY_MS = 2;

/**
 * Pushes a source's bytes, decompressed, through a scanner to its end; what compresses it is told
 * from its first bytes. Pipes are read with blocking calls, and the work between two chunks blocks: not for a thread that serves others.
 * @param pushed is told after every chunk how many bytes of tar it had.
 * @throws SquibError not-found, unimplemented (a compression that no layer has), data-loss, and
 *   what the scanner throws; the source's name is in front.
 */
export async function scanSource(
  source: TarSource,
  scanner: TarScanner,
  pushed: (bytes: number) => void = () => {},
): Promise<Compression> {
  const name = 'path' in source ? source.path : source.name;
  const fd = 'path' in source ? open(source.path) : source.fd;
  try {
    const first = readHead(fd);
    const compression = compressionOf(first);
    const take: Take = (chunk) => {
      scanner.push(chunk);
      pushed(chunk.length);
    };
    if (compression !== 'none') await decompress(fd, first, compression, take);
    else if (fstatSync(fd).isFile()) await pumpFile(fd, first, take);
    else pumpPipe(fd, first, take);
    scanner.finish();
    return compression;
  } catch (thrown) {
    throw named(name, scanner, thrown);
  } finally {
    if ('path' in source) closeSync(fd);
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new SquibError(missing ? 'not-found' : 'unavailable', `${path}: cannot be opened`, { cause });
  }
}

function named(name: string, scanner: TarScanner, thrown: unknown): SquibError {
  if (thrown instanceof SquibError) {
    return new SquibError(thrown.code, `${name}: ${thrown.message}`, { cause: thrown.cause });
  }
  const { code = '' } = thrown as NodeJS.ErrnoException;
  if (code.startsWith('Z_') || code.startsWith('ZSTD_')) {
    const what = `compressed data are damaged or cut off: ${describe(thrown)}`;
    return new SquibError('data-loss', `${name}: ${scanner.place}: ${what}`);
  }
  const what = code === 'EISDIR' ? 'is a directory, not a tar archive' : `${scanner.place}: cannot be read`;
  return new SquibError(code === 'EISDIR' ? 'invalid-argument' : 'unavailable', `${name}: ${what}`, {
    cause: thrown,
  });
}

/** The first bytes; fewer than a magic number only if there are no more. */
function readHead(fd: number): Buffer {
  const head = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  let filled = 0;
  while (filled < MAGIC_BYTES) {
    const n = readSome(fd, head.subarray(filled));
    if (n === 0) break;
    filled += n;
  }
  return head.subarray(0, filled);
}

/** @throws SquibError unimplemented, naming a format that is known and not taken. */
export function compressionOf(head: Buffer): Compression {
  const starts = (...bytes: number[]) => bytes.every((byte, i) => head[i] === byte);
  if (starts(0x1f, 0x8b)) return 'gzip';
  if (starts(0x28, 0xb5, 0x2f, 0xfd)) return 'zstd';
  // A zstd stream may begin with a frame that is to be skipped; sixteen numbers mark one.
  const skippable =
    ((head[0] ?? 0) & 0xf0) === 0x50 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18;
  if (skippable) return 'zstd';
  const other = starts(0x42, 0x5a, 0x68)
    ? 'bzip2'
    : starts(0xfd, 0x37, 0x7a, 0x58, 0x5a)
      ? 'xz'
      : starts(0x50, 0x4b, 3, 4)
        ? 'zip'
        : undefined;
  if (other === undefined) return 'none';
  throw new SquibError('unimplemented', `is ${other}; taken are tar, tar with gzip and tar with zstd`);
}

type Take = (chunk: Uint8Array) => void;

/** One chunk is read while the one before is worked on; files only: a read of one always returns. */
async function pumpFile(fd: number, first: Buffer, take: Take): Promise<void> {
  let [buffer, other] = [Buffer.allocUnsafeSlow(CHUNK_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES)];
  let reading = readAsync(fd, buffer, 0, CHUNK_BYTES, null);
  // Its failure is met below; until then it is nobody's.
  reading.catch(() => {});
  try {
    if (first.length > 0) take(first);
    for (let n = (await reading).bytesRead; n > 0; n = (await reading).bytesRead) {
      const chunk = buffer.subarray(0, n);
      reading = readAsync(fd, other, 0, CHUNK_BYTES, null);
      reading.catch(() => {});
      [buffer, other] = [other, buffer];
      take(chunk);
    }
  } finally {
    // The descriptor must not close, and be given to something else, under the last read.
    await reading.catch(() => {});
  }
}

function pumpPipe(fd: number, first: Buffer, take: Take): void {
  if (first.length > 0) take(first);
  const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  for (let n = readSome(fd, buffer); n > 0; n = readSome(fd, buffer)) take(buffer.subarray(0, n));
}

/** Blocks even on a descriptor that somebody made non-blocking. */
function readSome(fd: number, into: Uint8Array): number {
  for (;;) {
    try {
      return readSync(fd, into, 0, into.length, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, NOT_READY_MS);
    }
  }
}

async function decompress(
  fd: number,
  first: Buffer,
  compression: 'gzip' | 'zstd',
  take: Take,
): Promise<void> {
  const through =
    compression === 'gzip'
      ? createGunzip({ chunkSize: CHUNK_BYTES })
      : createZstdDecompress({
          chunkSize: CHUNK_BYTES,
          params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
        });
  await pipeline(compressed(fd, first), through, async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) take(chunk);
  });
}

const readAsync = promisify(read);

async function* compressed(fd: number, first: Buffer): AsyncGenerator<Buffer> {
  yield first;
  for (;;) {
    // The decompressor may still be at the buffer before.
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const { bytesRead } = await readAsync(fd, buffer, 0, buffer.length, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}
