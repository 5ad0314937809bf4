import { SquibError } from '../base/errors.ts';
import type { Loop } from './loop.ts';
import { unless } from './step.ts';
import { O_RDONLY } from './sys/constants.ts';
import { EINVAL, EIO, ENODEV, ENOENT, ENXIO } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

/** A hot-plugged disk shows up within 200 ms under TCG with load. */
export const DISK_WAIT_MS = 10_000;
const POLL_MS = 2;
/** SCSI's unit serial number page: four bytes of header, then the text. */
const SERIAL_PAGE_HEADER = 4;
const SERIAL_PAGE_BYTES = 256;

/** Called with the device nodes in the order of the asked serials, or with what went wrong. */
export type DisksFound = (found: ReadonlyMap<string, string> | SquibError) => void;

/** Waits until disks with these serials are there, without keeping the loop from its work. */
export function awaitDisks(kernel: Kernel, loop: Loop, serials: readonly string[], done: DisksFound): void {
  const deadline = loop.now() + DISK_WAIT_MS;
  const look = () => {
    const found = listDisks(kernel);
    const missing = serials.filter((serial) => !found.has(serial));
    if (missing.length === 0) return done(found);
    if (loop.now() < deadline) {
      loop.after(POLL_MS, look);
      return;
    }
    const there = [...found.keys()].join(', ') || 'none';
    done(
      new SquibError(
        'deadline-exceeded',
        `no disk with serial "${missing.join('", "')}" within ${DISK_WAIT_MS} ms; there are: ${there}`,
      ),
    );
  };
  look();
}

/** Device nodes of the SCSI disks by serial. */
export function listDisks(kernel: Kernel): ReadonlyMap<string, string> {
  const disks = new Map<string, string>();
  const dir = unless([ENOENT], () => kernel.open('/sys/block', O_RDONLY));
  if (dir === undefined) return disks;
  try {
    for (const { name } of kernel.readDir(dir)) {
      const serial = name.startsWith('sd') ? serialOf(kernel, name) : undefined;
      if (serial !== undefined) disks.set(serial, `/dev/${name}`);
    }
  } finally {
    kernel.close(dir);
  }
  return disks;
}

/** undefined while the disk is still coming, or going. */
function serialOf(kernel: Kernel, name: string): string | undefined {
  return unless([ENOENT, ENODEV, ENXIO, EIO, EINVAL], () => {
    const fd = kernel.open(`/sys/block/${name}/device/vpd_pg80`, O_RDONLY);
    try {
      const p = kernel.alloc(SERIAL_PAGE_BYTES);
      const n = kernel.read(fd, p, SERIAL_PAGE_BYTES);
      if (n <= SERIAL_PAGE_HEADER) return undefined;
      return kernel.text(p + SERIAL_PAGE_HEADER, n - SERIAL_PAGE_HEADER).trim();
    } finally {
      kernel.close(fd);
    }
  });
}
