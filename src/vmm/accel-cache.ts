import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { KVM_VERDICTS, type ProbeResult } from './probe.ts';

/** Counts up when the probe or this file's shape changes. */
const FORMAT = 1;

interface CacheFile extends ProbeResult {
  readonly format: number;
  readonly bootId: string;
}

/**
 * The probe's answer of this boot of the host, or undefined: no file, another boot's, another
 * version's or a damaged one. All of them mean: probe again.
 */
export async function readAccelCache(path: string, bootId: string): Promise<ProbeResult | undefined> {
  let parsed: Partial<CacheFile> | null;
  try {
    parsed = JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { format, bootId: writtenIn, kvm, elapsedUs, tscKhz, detail } = parsed;
  if (format !== FORMAT || writtenIn !== bootId) return undefined;
  if (kvm === undefined || !KVM_VERDICTS.includes(kvm)) return undefined;
  if (!Number.isSafeInteger(elapsedUs) || !Number.isSafeInteger(tscKhz) || typeof detail !== 'string') {
    return undefined;
  }
  return { kvm, elapsedUs: elapsedUs as number, tscKhz: tscKhz as number, detail };
}

/** Replaces the cache in one step, so that a concurrent reader sees the old or the new one. */
export async function writeAccelCache(path: string, bootId: string, result: ProbeResult): Promise<void> {
  const file: CacheFile = { format: FORMAT, bootId, ...result };
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  // Loading it takes 8 ms; only the first start of a host's boot comes here.
  const { randomBytes } = await import('node:crypto');
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString('hex')}`;
  try {
    const handle = await open(temporary, 'wx', 0o644);
    try {
      await handle.writeFile(`${JSON.stringify(file)}\n`);
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (thrown) {
    await rm(temporary, { force: true });
    throw thrown;
  }
}
