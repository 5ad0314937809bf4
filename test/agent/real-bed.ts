import { randomBytes } from 'node:crypto';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { container, missing, RealGuest } from './real-guest.ts';

/** Why these tests cannot run here, or undefined. */
export const skip = missing();

type Spec = ReturnType<typeof container>;

let guest: RealGuest;
let lower: string;
let serial = 0;

/** One VM per test file, with an image plugged in. */
export const bed = {
  get guest(): RealGuest {
    return guest;
  },
  /** Serial of the image's disk. */
  get lower(): string {
    return lower;
  },
  /** Serial of a fresh writable disk. */
  upper: (): Promise<string> => guest.upper(),
  /** A new container id. */
  id: (): string => `c${serial++}`,
  /** The id that was given last. */
  lastId: (): string => `c${serial - 1}`,
  /** Runs a command in a new container, deletes it and unplugs its disk. */
  async run(
    command: string | readonly string[],
    change: (c: Spec) => Spec = (c) => c,
    stdin?: Uint8Array,
  ): Promise<{ stdout: string; stderr: string; status: number }> {
    const name = bed.id();
    const disk = await guest.upper();
    const result = await guest.run(name, change(container(lower, disk, command)), stdin);
    await guest.call('DeleteContainer', { container: name });
    await guest.vm.removeDrive(disk);
    return result;
  },
  /** A container that sees the agent's own root under /agent. */
  agentView(upperSerial: string, command: string): Spec {
    const c = container(lower, upperSerial, command);
    const bind = { destination: '/agent', type: 'bind', source: '/', flags: 4096 + 16384 };
    return { ...c, mounts: [...(c.mounts ?? []), bind], namespaces: [{ cloneFlag: 0x0002_0000 }] };
  },
};

/** Boots the file's VM before its tests and ends it after them. */
export function useBed(): void {
  before(async () => {
    if (skip) return;
    guest = await RealGuest.boot();
    const entropy = randomBytes(64);
    await guest.call('Configure', { timeSeconds: 1_800_000_000, timeNanos: 5, entropy, hostname: 'vm-name' });
    lower = await guest.lower(prepareLower);
  });
  after(async () => {
    await guest?.close();
  });
}

async function prepareLower(root: string): Promise<void> {
  await writeFile(join(root, 'bin/not-executable'), 'x');
  await writeFile(join(root, 'bin/no-interpreter'), '#!/does/not/exist\n', { mode: 0o755 });
  await writeFile(join(root, 'bin/no-format'), Buffer.from([0, 1, 2, 3]), { mode: 0o755 });
  await writeFile(join(root, 'etc/marker'), 'from the image');
  await symlink('/outside/of/root', join(root, 'dangling'));
  await symlink('../../../../../../etc', join(root, 'tmp/up'));
  await mkdir(join(root, 'only-root'), { mode: 0o700 });
}
