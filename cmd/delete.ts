import { writeSync } from 'node:fs';
import { describe } from '../src/base/errors.ts';
import { DeleteResponse } from '../src/proto/task.ts';
import { timestampOfMillis } from '../src/proto/timestamp.ts';
import { cleanUp } from '../src/shim/cleanup.ts';
import { STATUS_KILLED } from '../src/shim/container.ts';
import { parseFlags } from '../src/shim/flags.ts';

/**
 * `delete` where the shim left no mark of a clean end. containerd publishes the exit and the
 * deletion from what is printed here; it logs standard error as a warning.
 */
async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2));
  let pid = 0;
  try {
    pid = await cleanUp(flags.bundle || '.');
  } catch (thrown) {
    writeSync(2, `squib: cleaning up after ${flags.id}: ${describe(thrown)}\n`);
  }
  const exitedAt = timestampOfMillis(Date.now());
  writeSync(1, DeleteResponse.encode({ pid, exitStatus: STATUS_KILLED, exitedAt }));
}

main().catch((thrown: unknown) => {
  writeSync(2, `squib: ${describe(thrown)}\n`);
  process.exitCode = 1;
});
