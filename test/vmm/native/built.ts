import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

/** The path of a native helper, as tools/build leaves it. */
export function helperPath(name: 'jail' | 'pass-fd' | 'kvm-probe'): string {
  return resolve(import.meta.dirname, '../../../build/native', name);
}

/** node:test's `skip` value: a reason, or false if the helper can be run. */
export function skipReason(name: 'jail' | 'pass-fd' | 'kvm-probe', root = false): string | false {
  if (!existsSync(helperPath(name))) return `build/native/${name} is missing: run tools/build`;
  if (root && process.getuid?.() !== 0) return 'needs root: it changes users and mounts';
  return false;
}
