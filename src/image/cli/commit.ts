import { SquibError } from '../../base/errors.ts';
import { fillUpper } from '../upper.ts';
import { type Command, EXIT_OK, type ExitCode, type Surroundings } from './command.ts';

/** What is copied at most when nothing else is said. */
const MIB_DEFAULT = 1024;
const MIB = 1 << 20;

export const COMMIT: Command = {
  summary: "makes a host's overlay upper directory say what a scratch image says",
  operands: ['SCRATCH', 'DIRECTORY'],
  options: {
    'max-mib': { value: 'N', help: `refuse to copy more data than this (default ${MIB_DEFAULT})` },
    frozen: { help: 'the image is in use, but its file system is frozen' },
  },
  notes: [
    'What DIRECTORY held is replaced, at once and only after all went well. Needs root. The shim does the same when a',
    'container is deleted, so that ctr and nerdctl commit find what it wrote.',
  ].join('\n'),
  run: commit,
};

async function commit({ operands, options, stdout, isJson }: Surroundings): Promise<ExitCode> {
  const [scratch = '', upperDir = ''] = operands;
  const maxMib = Number(options['max-mib'] ?? MIB_DEFAULT);
  if (!Number.isSafeInteger(maxMib) || maxMib < 0)
    throw new SquibError(
      'invalid-argument',
      `--max-mib is "${options['max-mib']}"; expected a number of MiB`,
    );
  const isFrozen = options['frozen'] !== undefined;
  const stats = await fillUpper({ scratch, upperDir, bytesMax: maxMib * MIB, isFrozen });
  if (isJson) stdout.line(JSON.stringify(stats ?? { entries: 0 }));
  else if (stats === undefined) stdout.line('nothing to do: the image has no changes');
  else
    stdout.line(`${upperDir}: ${stats.entries} entries, ${stats.whiteouts} whiteouts, ${stats.bytes} bytes`);
  return EXIT_OK;
}
