import type { Containers } from './containers.ts';
import type { Reaper } from './reaper.ts';
import { LINUX_REBOOT_CMD_RESTART } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';

/** Killed processes end within milliseconds; the end of the VM does not wait for one that hangs. */
const KILLED_WAIT_MS = 2_000;
const POLL_MS = 1;

/** Kills every container and gives back what they hold; never throws. */
export function stopContainers(kernel: Kernel, containers: Containers, reaper: Reaper): void {
  const all = containers.all;
  const quietly = (run: () => void) => {
    try {
      run();
    } catch {
      // The VM ends either way; what could be said, the host learns from the disk.
    }
  };
  for (const container of all) quietly(() => container.killAll());
  for (let waited = 0; waited < KILLED_WAIT_MS; waited += POLL_MS) {
    kernel.beginEvent();
    quietly(() => reaper.reap());
    let empty = true;
    for (const container of all) {
      quietly(() => {
        if (!container.empty) empty = false;
      });
    }
    if (empty) break;
    kernel.sleep(POLL_MS);
  }
  for (const container of all) quietly(() => container.giveUp());
}

/** Ends the machine. A restart, which QEMU with -no-reboot turns into its exit. */
export function endMachine(kernel: Kernel): void {
  kernel.beginEvent();
  kernel.sync();
  kernel.reboot(LINUX_REBOOT_CMD_RESTART);
}
