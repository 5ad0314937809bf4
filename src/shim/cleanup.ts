import { sleep } from '../base/deadline.ts';
import { SquibError } from '../base/errors.ts';
import { recordedRunDir } from './bundle.ts';
import { isRunning, type ProcessRecord } from './process-record.ts';
import { RunDir } from './run-dir.ts';

/** containerd gives `delete` five seconds. */
const KILLED_MS = 3_000;
const POLL_MS = 5;

/**
 * Ends what a shim that is dead or stuck has left: the shim itself, its VMM, its directory. For a
 * container that joined another's pod there is nothing to do: the pod's own `delete` does it.
 * @returns the process id under which the container was known; 0: unknown.
 */
export async function cleanUp(bundle: string): Promise<number> {
  const path = recordedRunDir(bundle);
  if (path === undefined) return 0;
  const runDir = RunDir.at(path);
  if (runDir === undefined) {
    throw new SquibError('internal', `"${path}" in ${bundle}/squib-run is no run directory of squib`);
  }
  return cleanUpRunDir(runDir);
}

export async function cleanUpRunDir(runDir: RunDir): Promise<number> {
  const vmm = runDir.recorded('vmm');
  // The shim first, or it would report the end of its VMM.
  await kill(runDir.recorded('shim'));
  await kill(vmm);
  runDir.remove();
  return vmm?.pid ?? 0;
}

/** Kills that very process, never a later one with the same id, and waits until it is gone. */
async function kill(record: ProcessRecord | undefined): Promise<void> {
  if (record === undefined) return;
  for (let waited = 0; isRunning(record); waited += POLL_MS) {
    if (waited >= KILLED_MS) {
      throw new SquibError('deadline-exceeded', `process ${record.pid} is still there after SIGKILL`);
    }
    if (waited === 0) process.kill(record.pid, 'SIGKILL');
    await sleep(POLL_MS);
  }
}
