import { writeSync } from 'node:fs';
import { runImageCommand } from '../src/image/cli/run.ts';

const USAGE = `usage: squib image COMMAND [OPTION]... ARGUMENT...

  image    ext4 images: made, listed, read, exported, verified

squib image --help lists the commands. The runtime itself is containerd-shim-squib-v1.
`;

/** The command line for people; what containerd runs is containerd-shim-squib-v1. */
async function main([topic = '', ...args]: readonly string[]): Promise<number> {
  if (topic === 'image') return runImageCommand(args);
  if (topic === '-h' || topic === '--help' || topic === 'help') {
    writeSync(1, USAGE);
    return 0;
  }
  writeSync(2, topic === '' ? USAGE : `squib: unknown command "${topic}"\n\n${USAGE}`);
  return 2;
}

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
