import { SquibError } from '../../base/errors.ts';
import { Ext4Reader } from '../ext4/reader.ts';
import { type Command, EXIT_OK, type ExitCode, type Surroundings } from './command.ts';
import { rawName } from './text.ts';

export const CAT: Command = {
  summary: 'writes a file of the image to standard output',
  operands: ['IMAGE', 'PATH'],
  options: {},
  notes: 'Symlinks are followed inside the image.',
  run: concatenate,
};

const ZEROES = new Uint8Array(64 * 1024);

function concatenate({ operands, stdout }: Surroundings): ExitCode {
  const [image = '', path = ''] = operands;
  using reader = Ext4Reader.open(image);
  const inode = reader.resolve(rawName(path), true);
  if (inode.type !== 'file')
    throw new SquibError('invalid-argument', `"${path}" is a ${inode.type}, not a file`);
  let at = 0;
  const zeroesTo = (end: number) => {
    for (; at < end; at += Math.min(ZEROES.length, end - at))
      stdout.write(ZEROES.subarray(0, Math.min(ZEROES.length, end - at)));
  };
  for (const { position, bytes } of reader.content(inode)) {
    zeroesTo(position);
    stdout.write(bytes);
    at += bytes.length;
  }
  zeroesTo(inode.size);
  return EXIT_OK;
}
