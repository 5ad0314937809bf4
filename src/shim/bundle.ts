import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Files that squib puts into a bundle, beside containerd's; they go with it. The launcher
 * (cmd/containerd-shim-squib-v1) knows the same names.
 */
const ADDRESS = 'address';
/** The shim's run directory, for `delete`; in the bundle of the pod's first container only. */
const RUN_DIR = 'squib-run';
/** Nothing of this container is left: `delete` has nothing to do. */
const CLEAN = 'squib-clean';

/**
 * containerd 1.6 and 1.7 find a running shim by this file alone; it is there whole or not at all.
 * Small files on a tmpfs take microseconds; by way of Node's thread pool each took milliseconds
 * of a start.
 */
export function publishAddress(bundle: string, address: string): void {
  const path = join(bundle, ADDRESS);
  writeFileSync(`${path}.new`, address, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function markClean(bundle: string): void {
  writeFileSync(join(bundle, CLEAN), '');
}

/** Written before the directory is made, so that there never is one that `delete` cannot find. */
export function recordRunDir(bundle: string, runDir: string): void {
  writeFileSync(join(bundle, RUN_DIR), runDir, { mode: 0o600 });
}

/** undefined: no shim ever ran for this bundle. */
export function recordedRunDir(bundle: string): string | undefined {
  try {
    return readFileSync(join(bundle, RUN_DIR), 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}
