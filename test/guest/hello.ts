/** The smallest program for the C host: proves engine, arena and syscalls, then ends (as PID 1: the machine). */
import { O_WRONLY } from '../../src/agent/sys/constants.ts';
import { Kernel } from '../../src/agent/sys/kernel.ts';
import type { Host } from '../../src/agent/sys/sys.ts';
import { X64 } from '../../src/agent/sys/syscalls-x64.ts';

declare const host: Host;

const kernel = new Kernel(host.sys, X64);
let log = 2;
try {
  log = kernel.open('/dev/kmsg', O_WRONLY);
} catch {
  // Outside of a guest: standard error.
}
function say(text: string): void {
  const line = kernel.cstr(`${text}\n`);
  kernel.write(log, line, text.length + 1);
}
say(
  `squib-hello: pid ${kernel.getpid()} on ${kernel.kernelRelease()}, ${kernel.cpuCount()} cpus, args ${host.args.length}`,
);
say(`squib-hello: clock ${kernel.clockGettime(1).nanos > 0} map ${new Map([[1, 2]]).get(1)}`);
if (host.args.includes('throw')) throw new Error('asked to');
