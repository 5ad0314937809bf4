import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { withDeadline } from '../../src/base/deadline.ts';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import { QemuEngine, type QemuEngineOptions } from '../../src/vmm/qemu/engine.ts';
import { type NewcEntry, newc } from '../../tools/newc.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const KERNEL = join(ROOT, 'build/kernel/vmlinux');
const NATIVE = join(ROOT, 'build/native');
const QEMU = '/usr/bin/qemu-system-x86_64';

/** Why tests with real VMs cannot run here, or undefined. */
export function missing(): string | undefined {
  if (process.arch !== 'x64') return `needs an x64 host, this is ${process.arch}`;
  if (process.getuid?.() !== 0) return 'needs root: the jail changes users and mounts';
  for (const path of [
    QEMU,
    KERNEL,
    join(NATIVE, 'jail'),
    join(NATIVE, 'pass-fd'),
    join(NATIVE, 'kvm-probe'),
  ]) {
    if (!existsSync(path)) return `needs ${path}: run tools/build`;
  }
  return undefined;
}

/** A directory with what the tests boot, removed by `[Symbol.asyncDispose]`. */
export interface GuestFiles {
  readonly dir: string;
  readonly kernel: string;
  readonly initrd: string;
  engine(options?: Partial<QemuEngineOptions>): QemuEngine;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Compiles vmm-guest.c and packs it with the kernel's modules into an initramfs. */
export async function makeGuest(): Promise<GuestFiles> {
  const dir = await mkdtemp(join(tmpdir(), 'squib-vmm-test-'));
  const init = join(dir, 'init');
  execFileSync('musl-gcc', ['-static', '-Os', '-o', init, join(import.meta.dirname, 'vmm-guest.c'), '-s']);
  const names = (await readFile(join(ROOT, 'build/kernel/modules.order'), 'utf8')).trim().split('\n');
  const files: NewcEntry[] = [
    { path: 'init', mode: 0o100755, content: await readFile(init) },
    { path: 'dev', mode: 0o40755 },
    { path: 'modules', mode: 0o40755 },
    { path: 'modules/order', mode: 0o100644, content: Buffer.from(names.join('\n')) },
  ];
  for (const name of names) {
    const content = await readFile(join(ROOT, `build/kernel/modules/${name}.ko`));
    files.push({ path: `modules/${name}`, mode: 0o100644, content });
  }
  const initrd = join(dir, 'initramfs');
  await writeFile(initrd, newc(files), { mode: 0o644 });
  const engine = (options: Partial<QemuEngineOptions> = {}) =>
    new QemuEngine({
      qemuPath: QEMU,
      jailPath: join(NATIVE, 'jail'),
      passFdPath: join(NATIVE, 'pass-fd'),
      probePath: join(NATIVE, 'kvm-probe'),
      accelerator: 'auto',
      accelCachePath: join(dir, 'accel.json'),
      logger: silentLogger,
      ...options,
    });
  const dispose = () => rm(dir, { recursive: true, force: true });
  return { dir, kernel: KERNEL, initrd, engine, [Symbol.asyncDispose]: dispose };
}

/** Boot plus answer under TCG takes 2 s on an idle host, and this host is not always idle. */
export const GUEST_TIMEOUT_MS = 60_000;

/** Speaks the line protocol of vmm-guest.c. */
export class GuestLines {
  readonly #lines: AsyncIterator<string>;
  readonly #wire: Duplex;

  constructor(wire: Duplex) {
    this.#wire = wire;
    this.#lines = createInterface({ input: wire })[Symbol.asyncIterator]();
  }

  async next(): Promise<string | undefined> {
    const { value, done } = await withDeadline(this.#lines.next(), GUEST_TIMEOUT_MS, "the guest's next line");
    return done ? undefined : value;
  }

  async ask(command: string): Promise<string | undefined> {
    this.#wire.write(`${command}\n`);
    return await this.next();
  }

  /** Asks until the answer satisfies `accept`. */
  async until(command: string, accept: (answer: string) => boolean): Promise<string> {
    for (const end = Date.now() + GUEST_TIMEOUT_MS; ; ) {
      const answer = (await this.ask(command)) ?? 'the guest is gone';
      if (accept(answer)) return answer;
      if (Date.now() > end)
        throw new Error(`the guest keeps answering ${JSON.stringify(answer)} to ${command}`);
    }
  }
}

/** Collects what is logged at warn. */
export function warnings(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  return { logger: { ...silentLogger, warn: (message) => lines.push(message) }, lines };
}
