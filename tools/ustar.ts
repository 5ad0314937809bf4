/**
 * Writes tar archives in the ustar format of POSIX.1-1988, for the small images that the demo and the
 * tests make. Nothing but the entries goes into the bytes: the same entries give the same archive.
 */
const BLOCK_BYTES = 512;
/** ustar's name field; its prefix field is not used here. */
const NAME_BYTES_MAX = 100;

export interface TarEntry {
  /** Path without a leading slash; a directory may end in one. At most 100 bytes. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'hardlink';
  /** Permission bits, set-id and sticky bits included. */
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Modification time in seconds since the epoch; 0 by default. */
  readonly mtime?: number;
  /** Of a symlink or hardlink. */
  readonly target?: string;
  /** Of a file; empty by default. */
  readonly data?: Uint8Array;
}

const TYPE_FLAGS = { file: '0', hardlink: '1', symlink: '2', directory: '5' } as const;

/** One archive of the entries in their order, with the two zero blocks at its end. */
export function ustar(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const data = Buffer.from(entry.data ?? new Uint8Array());
    const padding = Buffer.alloc((BLOCK_BYTES - (data.length % BLOCK_BYTES)) % BLOCK_BYTES);
    return [header(entry, data.length), data, padding];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK_BYTES)]);
}

function header(entry: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, at: number, width: number) => {
    block.write(value.toString(8).padStart(width - 1, '0'), at, 'latin1');
  };
  for (const name of [entry.path, entry.target ?? '']) {
    if (Buffer.byteLength(name) > NAME_BYTES_MAX) {
      throw new RangeError(`tar name ${name} has more than ${NAME_BYTES_MAX} bytes`);
    }
  }
  block.write(entry.path, 0);
  octal(entry.mode, 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  octal(size, 124, 12);
  octal(entry.mtime ?? 0, 136, 12);
  // The checksum is taken with its own field as spaces.
  block.fill(0x20, 148, 156);
  block.write(TYPE_FLAGS[entry.kind], 156);
  block.write(entry.target ?? '', 157);
  block.write('ustar\x0000', 257, 'latin1');
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}
