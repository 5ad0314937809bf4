import { SquibError } from '../base/errors.ts';
import type { Rootfs } from '../proto/agent.ts';
import { Cleanup } from './cleanup.ts';
import { makeDirectories } from './path.ts';
import { step, unless } from './step.ts';
import { AT_FDCWD, AT_REMOVEDIR, MS_NOATIME, MS_RDONLY, O_EXCL, O_RDONLY } from './sys/constants.ts';
import { EBUSY, EEXIST, ENOENT, ENXIO } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

const BASE = '/run/squib';
/** Nothing of these is wanted, and each would cost reads or leave marks in the upper directory. */
const OVERLAY_OPTIONS = 'index=off,metacopy=off,redirect_dir=off,xino=off';
const PERMISSIONS = 0o7777;

/** A container's root: the two disks, mounted and joined. */
export class MountedRoot {
  /** The root as the agent sees it. */
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #cleanup = new Cleanup();
  readonly #upperDevice: string;

  /**
   * @param disks device nodes by serial, holding both of the request's.
   * @throws SquibError naming the step; leaves nothing mounted then.
   */
  constructor(kernel: Kernel, id: string, rootfs: Rootfs, disks: ReadonlyMap<string, string>) {
    this.#kernel = kernel;
    const base = `${BASE}/${id}`;
    const lower = disks.get(rootfs.lowerSerial);
    this.#upperDevice = disks.get(rootfs.upperSerial) as string;
    this.path = lower === undefined ? `${base}/upper` : `${base}/root`;
    try {
      makeDirectories(kernel, base);
      this.#cleanup.add(`remove ${base}`, () => kernel.unlinkat(AT_FDCWD, base, AT_REMOVEDIR));
      if (lower !== undefined) this.#mountDisk(lower, `${base}/lower`, MS_RDONLY, 'noload');
      this.#mountDisk(this.#upperDevice, `${base}/upper`, MS_NOATIME, '');
      if (lower !== undefined) this.#join(base);
    } catch (thrown) {
      this.#cleanup.run();
      throw thrown;
    }
  }

  #mountDisk(source: string, target: string, flags: number, data: string): void {
    step(`mount disk ${source} on ${target}`, () =>
      this.#mount(target, () => this.#kernel.mount({ source, target, type: 'ext4', flags, data })),
    );
  }

  #join(base: string): void {
    const [lower, upper, work] = [`${base}/lower`, `${base}/upper/upper`, `${base}/upper/work`];
    step('prepare the upper directory', () => {
      const made = unless([EEXIST], () => {
        this.#kernel.mkdirat(AT_FDCWD, upper, 0o755);
        return true;
      });
      if (made) this.#likeLowerRoot(lower, upper);
      unless([EEXIST], () => this.#kernel.mkdirat(AT_FDCWD, work, 0o700));
    });
    const target = `${base}/root`;
    step(`overlay ${target}`, () =>
      this.#mount(target, () =>
        this.#kernel.mount({
          source: 'overlay',
          target,
          type: 'overlay',
          data: `lowerdir=${lower},upperdir=${upper},workdir=${work},${OVERLAY_OPTIONS}`,
        }),
      ),
    );
  }

  /** The overlay's root directory shows mode and owner of the upper one. */
  #likeLowerRoot(lower: string, upper: string): void {
    const { mode, uid, gid } = this.#kernel.stat(AT_FDCWD, lower);
    this.#kernel.fchownat(AT_FDCWD, upper, uid, gid);
    this.#kernel.fchmodat(AT_FDCWD, upper, mode & PERMISSIONS);
  }

  #mount(target: string, mount: () => void): void {
    makeDirectories(this.#kernel, target);
    this.#cleanup.add(`remove ${target}`, () => this.#kernel.unlinkat(AT_FDCWD, target, AT_REMOVEDIR));
    mount();
    this.#cleanup.add(`unmount ${target}`, () => this.#kernel.umount2(target, 0));
  }

  /** Unmounts all of it, writing everything back. @throws SquibError `internal` naming what stays. */
  unmount(): void {
    const failures = this.#cleanup.run();
    if (failures.length > 0) throw new SquibError('internal', failures.join('; '));
  }

  /** True once no mount in any namespace holds the writable disk: an exclusive open says so. */
  get released(): boolean {
    const fd = unless(
      [EBUSY],
      () => unless([ENOENT, ENXIO], () => this.#kernel.open(this.#upperDevice, O_RDONLY | O_EXCL)) ?? -1,
    );
    if (fd === undefined) return false;
    if (fd >= 0) this.#kernel.close(fd);
    return true;
  }
}
