import { closeSync, openSync, renameSync, rmSync } from 'node:fs';
import { isatty } from 'node:tty';
import { SquibError } from '../../base/errors.ts';
import { type ExportStats, exportTar } from '../export/export-tar.ts';
import { Ext4Reader } from '../ext4/reader.ts';
import { type Command, EXIT_OK, type ExitCode, type Surroundings } from './command.ts';
import { Output } from './output.ts';
import { rawName } from './text.ts';

export const EXPORT: Command = {
  summary: 'writes the image, or a tree in it, as a tar',
  operands: ['IMAGE', '[PATH]'],
  options: {
    layer: {
      help: "PATH (default: upper) is an overlay's upper directory: write an OCI layer with whiteouts",
    },
    output: { value: 'FILE', short: 'o', help: 'instead of standard output; complete or absent' },
  },
  notes: 'Files with large holes become sparse files of pax 1.0. Sockets are left out.',
  run: exportImage,
};

function exportImage(surroundings: Surroundings): ExitCode {
  const { output } = surroundings.options;
  if (output === undefined) {
    if (isatty(1))
      throw new SquibError(
        'invalid-argument',
        'a tar is not written to a terminal: use --output FILE, or a pipe',
      );
    write(surroundings, surroundings.stdout);
    return EXIT_OK;
  }
  const temporary = `${output}.squib-${process.pid}`;
  const fd = openSync(temporary, 'wx', 0o600);
  try {
    const out = new Output(fd);
    const stats = write(surroundings, out);
    out.flush();
    renameSync(temporary, output);
    report(surroundings, stats);
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw thrown;
  } finally {
    closeSync(fd);
  }
  return EXIT_OK;
}

function write({ operands, options, progress }: Surroundings, out: Output): ExportStats {
  const isLayer = options['layer'] !== undefined;
  const [image = '', path = isLayer ? 'upper' : ''] = operands;
  using reader = Ext4Reader.open(image);
  return exportTar(reader, {
    start: rawName(path),
    isLayer,
    write: (bytes) => out.write(bytes),
    progress: (stats) => progress.show('export', stats.entries, stats.bytes),
  });
}

function report({ stdout, isJson, progress }: Surroundings, stats: ExportStats): void {
  progress.clear();
  if (isJson) stdout.line(JSON.stringify(stats));
}
