import { Ext4Reader } from '../ext4/reader.ts';
import { verifyTree } from '../ext4/verify-tree.ts';
import { type Command, EXIT_DAMAGED, EXIT_OK, type ExitCode, type Surroundings } from './command.ts';
import { bytesText } from './text.ts';

export const VERIFY: Command = {
  summary: 'reads everything that the image names, and lists what is wrong',
  operands: ['IMAGE'],
  options: {},
  notes: [
    'Looks at structure as a reader needs it: extents, names, attributes, link counts, blocks that two files share.',
    "Bitmaps and checksums are e2fsck -fn's business. Exit status 3 when something is wrong.",
  ].join('\n'),
  run: verify,
};

function verify({ operands, stdout, progress, isJson }: Surroundings): ExitCode {
  const [image = ''] = operands;
  using reader = Ext4Reader.open(image);
  const report = verifyTree(reader, (entries) => progress.show('verify', entries));
  progress.clear();
  const { faults, faultCount, entries, dataBytes } = report;
  const isSound = faultCount === 0;
  if (isJson) {
    stdout.line(JSON.stringify({ ...report, isSound, isClean: reader.geometry.isClean }));
  } else {
    for (const fault of faults) stdout.line(fault);
    if (faultCount > faults.length) stdout.line(`… and ${faultCount - faults.length} more`);
    const state = reader.geometry.isClean ? '' : ', not unmounted in order';
    const verdict = isSound ? 'sound' : `${faultCount} faults`;
    stdout.line(`${image}: ${verdict}; ${entries} entries, ${bytesText(dataBytes)} of data${state}`);
  }
  return isSound ? EXIT_OK : EXIT_DAMAGED;
}
