/**
 * Writes the guest's initramfs: `initramfs.ts AGENT KERNEL_DIR OUT`. It holds the agent as /init, the
 * kernel modules of KERNEL_DIR flat in /lib/modules with their load order in /modules (a name per line),
 * mount points and two device nodes. Same inputs, same bytes.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NewcEntry } from './newc.ts';
import { newc } from './newc.ts';

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const FILE = 0o100644;
const CHARACTER_DEVICE = 0o020600;

/** What the agent mounts on, or makes things in. `/run` holds the containers' mounts. */
const DIRECTORIES = ['dev', 'proc', 'sys', 'run', 'lib', 'lib/modules'];
/** /dev/console is the agent's standard error until it mounts /dev; /dev/kmsg takes its last words. */
const NODES = [
  { path: 'dev/console', major: 5, minor: 1 },
  { path: 'dev/kmsg', major: 1, minor: 11 },
];

/** The entries of the initramfs, given the modules in load order. */
export function initramfs(
  agent: Uint8Array,
  modules: readonly { name: string; content: Uint8Array }[],
): Uint8Array {
  const entries: NewcEntry[] = [
    ...DIRECTORIES.map((path) => ({ path, mode: DIRECTORY })),
    ...NODES.map((node) => ({ ...node, mode: CHARACTER_DEVICE })),
    { path: 'init', mode: PROGRAM, content: agent },
    { path: 'modules', mode: FILE, content: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')) },
    ...modules.map(({ name, content }) => ({ path: `lib/modules/${name}.ko`, mode: FILE, content })),
  ];
  return newc(entries);
}

function main(args: readonly string[]): void {
  const [agent, kernel, out] = args;
  if (agent === undefined || kernel === undefined || out === undefined) {
    throw new Error('usage: initramfs.ts AGENT KERNEL_DIR OUT');
  }
  const names = readFileSync(join(kernel, 'modules.order'), 'utf8').split('\n').filter(Boolean);
  const modules = names.map((name) => ({
    name,
    content: readFileSync(join(kernel, 'modules', `${name}.ko`)),
  }));
  writeFileSync(out, initramfs(readFileSync(agent), modules));
}

if (import.meta.main) main(process.argv.slice(2));
