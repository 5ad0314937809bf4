import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { SquibError } from '../../base/errors.ts';
import { flattenDirectories } from '../directory/flatten.ts';
import { pathFromText } from '../directory/host-path.ts';
import { Libc } from '../directory/libc.ts';
import { createExt4Image } from '../ext4/image.ts';
import { convertTar } from '../tar/convert.ts';
import type { TarSource } from '../tar/source.ts';
import { type Command, EXIT_OK, type ExitCode, type Surroundings } from './command.ts';
import { bytesText } from './text.ts';

export const CONVERT: Command = {
  summary: 'makes a read-only ext4 image of tars or of directories',
  operands: ['SOURCE...', 'OUT'],
  options: {
    uuid: {
      value: 'HEX',
      help: '32 hex digits; without it all images of tars, and all of directories, have the same',
    },
    'no-inline-data': { help: 'keep small files out of their inodes (for guests that map the device)' },
    'no-sync': { help: 'do not wait until the disk has the image' },
  },
  notes: [
    'SOURCE is a tar (plain, gzip or zstd), "-" for one on standard input, or a directory. Several tars are the layers',
    'of an OCI image, several directories those of an overlay file system, the lowest first. OUT is complete or absent.',
    'The same input gives the same bytes.',
  ].join('\n'),
  run: convert,
};

interface Result {
  readonly bytes: number;
  readonly inodes: number;
}

async function convert(surroundings: Surroundings): Promise<ExitCode> {
  const { operands, stdout, progress, isJson } = surroundings;
  const sources = operands.slice(0, -1);
  const out = operands.at(-1) as string;
  const begun = performance.now();
  const directories = sources.filter(isDirectory);
  if (directories.length > 0 && directories.length < sources.length)
    throw new SquibError(
      'invalid-argument',
      `"${directories[0]}" is a directory, and not all sources are: make two images, or one tar`,
    );
  const isTar = directories.length === 0;
  const result = isTar
    ? await ofTars(sources, out, surroundings)
    : await ofDirectories(sources, out, surroundings);
  progress.clear();
  const { bytes, inodes } = result;
  const ms = Math.round(performance.now() - begun);
  if (isJson) stdout.line(JSON.stringify({ path: out, bytes, inodes, ms }));
  else stdout.line(`${out}: ${bytesText(bytes)}, ${inodes} inodes, ${(ms / 1000).toFixed(2)} s`);
  return EXIT_OK;
}

function ofTars(sources: readonly string[], out: string, surroundings: Surroundings): Promise<Result> {
  if (sources.filter((source) => source === '-').length > 1)
    throw new SquibError('invalid-argument', '"-" may come once: standard input is read once');
  const layers = sources.map(
    (source): TarSource => (source === '-' ? { fd: 0, name: 'standard input' } : { path: source }),
  );
  const uuid = uuidOf(surroundings);
  return convertTar(layers, out, {
    ...imageOptions(surroundings),
    ...(uuid === undefined ? {} : { uuid }),
    progress: ({ bytes, entries }) => surroundings.progress.show('convert', entries, bytes),
  });
}

/** The name-based uuid of an image of which no digest is known: the text "squib image dir", and 1. */
const UUID_WITHOUT_DIGEST = Uint8Array.from(Buffer.from('squib image dir\x01', 'latin1'));

async function ofDirectories(
  sources: readonly string[],
  out: string,
  surroundings: Surroundings,
): Promise<Result> {
  const libc = await Libc.load();
  const uuid = uuidOf(surroundings) ?? UUID_WITHOUT_DIGEST;
  const image = createExt4Image(out, { ...imageOptions(surroundings), uuid });
  try {
    const kind = sources.length === 1 ? 'plain' : 'overlay';
    const layers = sources.map((source) => pathFromText(resolve(source))).reverse();
    flattenDirectories(image, image.tree.root, { kind, layers, namespace: 'trusted' }, libc);
    return image.finish();
  } catch (thrown) {
    image.abort();
    throw thrown;
  }
}

function imageOptions({ options }: Surroundings): { inlineData: boolean; sync: boolean } {
  return { inlineData: options['no-inline-data'] === undefined, sync: options['no-sync'] === undefined };
}

function uuidOf({ options }: Surroundings): Uint8Array | undefined {
  const text = options['uuid']?.replaceAll('-', '');
  if (text === undefined) return undefined;
  if (/^[0-9a-f]{32}$/i.test(text)) return Buffer.from(text, 'hex');
  throw new SquibError('invalid-argument', `--uuid is "${options['uuid']}"; expected 32 hex digits`);
}

function isDirectory(source: string): boolean {
  if (source === '-') return false;
  const status = statSync(source, { throwIfNoEntry: false });
  if (status === undefined) throw new SquibError('not-found', `"${source}" does not exist`);
  return status.isDirectory();
}
