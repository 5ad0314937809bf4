import { SquibError } from '../base/errors.ts';
import { enableControllers } from './cgroup.ts';
import { step, unless } from './step.ts';
import {
  AT_FDCWD,
  CLOCK_MONOTONIC,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  MS_BIND,
  MS_MOVE,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
} from './sys/constants.ts';
import { EBUSY, ENOENT, ENXIO } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

/** virtio-serial's port appears within 50 ms of the module. */
export const PORT_WAIT_MS = 10_000;
const POLL_MS = 1;
/** The name that the engine gives the port. */
export const PORT_NAME = 'org.squib.agent';
const PORTS = '/sys/class/virtio-ports';
const HARDENED = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/** What must be mounted before the port can be found. */
export function mountBasics(kernel: Kernel): void {
  leaveInitialRoot(kernel);
  mount(kernel, 'devtmpfs', '/dev', MS_NOSUID | MS_NOEXEC);
  mount(kernel, 'proc', '/proc', HARDENED);
  mount(kernel, 'sysfs', '/sys', HARDENED);
  // Without a console the kernel leaves 0 to 2 free, and a pipe of ours must never be one of these.
  let fd = 0;
  do {
    fd = kernel.open('/dev/null', O_RDWR);
  } while (fd < 2);
  if (fd > 2) kernel.close(fd);
}

/** What containers need: cgroups with all controllers. Its cost is not part of the way to HELLO. */
export function mountCgroups(kernel: Kernel): void {
  mount(kernel, 'cgroup2', '/sys/fs/cgroup', HARDENED);
  step('enable cgroup controllers', () => enableControllers(kernel));
  // In a guest as small as its container, the heuristic refuses reservations that a big host grants;
  // what is really used is the cgroup's to limit.
  step('allow memory overcommit', () => kernel.writeFile('/proc/sys/vm/overcommit_memory', '1'));
}

/**
 * The kernel refuses pivot_root away from the initial root file system, so a bind mount of it on
 * itself becomes the root that containers leave.
 */
function leaveInitialRoot(kernel: Kernel): void {
  step('leave the initial root', () => {
    kernel.mount({ source: '/', target: '/run', flags: MS_BIND });
    kernel.chdir('/run');
    kernel.mount({ source: '.', target: '/', flags: MS_MOVE });
    kernel.chroot('.');
    kernel.chdir('/');
  });
}

function mount(kernel: Kernel, type: string, target: string, flags: number): void {
  step(`mount ${type} on ${target}`, () =>
    unless([EBUSY], () => kernel.mount({ source: type, target, type, flags })),
  );
}

/**
 * Opens the serial port, waiting for it.
 * @throws SquibError `deadline-exceeded` naming the ports that there are.
 */
export function openPort(kernel: Kernel): number {
  const deadline = milliseconds(kernel) + PORT_WAIT_MS;
  for (;;) {
    kernel.beginEvent();
    const ports = listPorts(kernel);
    const device = ports.get(PORT_NAME);
    const fd =
      device === undefined
        ? undefined
        : unless([ENOENT, ENXIO], () => kernel.openat(AT_FDCWD, `/dev/${device}`, O_RDWR | O_NONBLOCK));
    if (fd !== undefined) return fd;
    if (milliseconds(kernel) >= deadline) {
      const there = [...ports.keys()].join(', ') || 'none';
      throw new SquibError(
        'deadline-exceeded',
        `no virtio-serial port "${PORT_NAME}" within ${PORT_WAIT_MS} ms; there are: ${there}`,
      );
    }
    kernel.sleep(POLL_MS);
  }
}

/** Makes an inherited descriptor what `openPort` gives: non-blocking, not inherited further. */
export function inheritPort(kernel: Kernel, fd: number): number {
  kernel.fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
  kernel.fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

/** Device names of the virtio-serial ports by port name. */
function listPorts(kernel: Kernel): ReadonlyMap<string, string> {
  const ports = new Map<string, string>();
  const dir = unless([ENOENT], () => kernel.open(PORTS, O_RDONLY));
  if (dir === undefined) return ports;
  try {
    for (const { name } of kernel.readDir(dir)) {
      const port = unless([ENOENT], () => kernel.readFile(`${PORTS}/${name}/name`));
      if (port !== undefined) ports.set(port.trim(), name);
    }
  } finally {
    kernel.close(dir);
  }
  return ports;
}

/** The guest's clock since the kernel's start. */
export function milliseconds(kernel: Kernel): number {
  const { seconds, nanos } = kernel.clockGettime(CLOCK_MONOTONIC);
  return seconds * 1000 + nanos / 1e6;
}
