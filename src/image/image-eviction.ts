import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Libc } from './directory/libc.ts';

/**
 * The directory for images that cannot lie beside their layers. Each has a directory of its own,
 * named by its chain's key, with these files. The image's mtime is the time of its last use.
 */
const IMAGE_NAME = 'image.ext4';
const LAYER_NAME = 'layer';
/** Between an image's completion and the moment its shim has it open. Far more than that takes. */
const GRACE_MS = 60_000;

export function sharedImagePath(dir: string, key: string): string {
  return join(dir, key, IMAGE_NAME);
}

/** Notes whose image it is: one whose layer is gone will never be used again. */
export function noteLayer(entryDir: string, topLayer: string): void {
  writeFileSync(join(entryDir, LAYER_NAME), topLayer);
}

interface Entry {
  readonly dir: string;
  readonly bytes: number;
  readonly usedMs: number;
  readonly orphaned: boolean;
}

/**
 * Removes images whose layers are gone, and then the least recently used ones until the rest is
 * within `bytesMax`. An image that any process of the host has open, a VM or a shim, stays: the kernel
 * grants a write lease on a file only when nobody else has it open.
 * @returns the directories that went.
 */
export function evictImages(dir: string, bytesMax: number, libc: Libc, nowMs = Date.now()): string[] {
  const entries = readdirSync(dir)
    .map((name) => readEntry(join(dir, name)))
    .filter((entry) => entry !== undefined)
    .sort((a, b) => Number(b.orphaned) - Number(a.orphaned) || a.usedMs - b.usedMs);
  let total = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  const gone: string[] = [];
  for (const entry of entries) {
    if (!entry.orphaned && total <= bytesMax) break;
    if (nowMs - entry.usedMs < GRACE_MS || !remove(entry, libc)) continue;
    total -= entry.bytes;
    gone.push(entry.dir);
  }
  return gone;
}

function readEntry(dir: string): Entry | undefined {
  const image = stat(join(dir, IMAGE_NAME));
  // Being built, or not ours.
  if (!image) return undefined;
  let layer: string | undefined;
  try {
    layer = readFileSync(join(dir, LAYER_NAME), 'utf8');
  } catch {
    // Not noted: age alone decides.
  }
  const orphaned = layer !== undefined && stat(layer) === undefined;
  return { dir, bytes: image.blocks * 512, usedMs: image.mtimeMs, orphaned };
}

function remove(entry: Entry, libc: Libc): boolean {
  let fd: number;
  try {
    fd = openSync(join(entry.dir, IMAGE_NAME), 'r');
  } catch {
    return false;
  }
  try {
    // Who opens it from now on waits until it has no name any more, and sees that.
    if (libc.lease(fd)) return false;
    rmSync(join(entry.dir, IMAGE_NAME));
    rmSync(join(entry.dir, LAYER_NAME), { force: true });
    removeEmpty(entry.dir);
    return true;
  } finally {
    closeSync(fd);
  }
}

function removeEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // Somebody builds the image anew.
  }
}

function stat(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}
