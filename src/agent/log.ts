import { O_WRONLY } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';
import { SysError } from './sys/sys-error.ts';

/** The kernel takes 992 bytes a record. */
const RECORD_CHARACTERS_MAX = 900;

/** Writes a line to the kernel's log, and so to the console, which the host keeps the tail of. */
export function log(kernel: Kernel, text: string): void {
  try {
    const fd = kernel.open('/dev/kmsg', O_WRONLY);
    try {
      const p = kernel.alloc(0);
      kernel.cstr(`<3>squib-agent: ${text.slice(0, RECORD_CHARACTERS_MAX)}`);
      kernel.write(fd, p, kernel.bytes(p, kernel.base + kernel.scratchUsed - p).indexOf(0));
    } finally {
      kernel.close(fd);
    }
  } catch (thrown) {
    // No log, no matter.
    if (!(thrown instanceof SysError)) throw thrown;
  }
}
