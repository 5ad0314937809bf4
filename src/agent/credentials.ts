import type { Capabilities, Rlimit, User } from '../proto/agent.ts';
import { step } from './step.ts';
import {
  CAP_LAST_CAP,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_RAISE,
  PR_CAPBSET_DROP,
  PR_SET_KEEPCAPS,
} from './sys/constants.ts';
import { EINVAL } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';
import type { U64 } from './sys/process-calls.ts';
import { SysError } from './sys/sys-error.ts';

const WORD = 0x1_0000_0000;
/** From here on a double cannot tell; only "infinity", 2^64-1, occurs. */
const EXACT_MAX = 2 ** 53;

/** The two halves of a 64-bit field; what is too large for a double is infinity. */
export function halves(value: number): U64 {
  if (value > EXACT_MAX) return { low: 0xffff_ffff, high: 0xffff_ffff };
  return { low: value % WORD, high: Math.floor(value / WORD) };
}

export function setRlimits(kernel: Kernel, rlimits: readonly Rlimit[]): void {
  for (const { resource, soft, hard } of rlimits) {
    step(`set rlimit ${resource} to ${soft}:${hard}`, () =>
      kernel.setrlimit(resource, halves(soft), halves(hard)),
    );
  }
}

/** Takes capabilities out of the bounding set; to be done while this process may still do so. */
export function dropBounding(kernel: Kernel, keep: number): void {
  step('drop capabilities from the bounding set', () => {
    const kept = halves(keep);
    for (let cap = 0; cap <= CAP_LAST_CAP; cap++) {
      if (has(kept, cap)) continue;
      try {
        kernel.prctl(PR_CAPBSET_DROP, cap);
      } catch (thrown) {
        // This kernel knows fewer.
        if (thrown instanceof SysError && thrown.errno === EINVAL) return;
        throw thrown;
      }
    }
  });
}

/** Becomes the user, keeping the permitted capabilities until `setCapabilities`. */
export function becomeUser(kernel: Kernel, user: User): void {
  step('keep capabilities', () => kernel.prctl(PR_SET_KEEPCAPS, 1));
  step('set additional groups', () => kernel.setgroups(user.additionalGids));
  step(`set group id ${user.gid}`, () => kernel.setresgid(user.gid));
  step(`set user id ${user.uid}`, () => kernel.setresuid(user.uid));
  step('keep capabilities no longer', () => kernel.prctl(PR_SET_KEEPCAPS, 0));
}

export function setCapabilities(kernel: Kernel, caps: Capabilities): void {
  step('set capabilities', () =>
    kernel.capset(halves(caps.effective), halves(caps.permitted), halves(caps.inheritable)),
  );
  step('set ambient capabilities', () => {
    kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);
    const ambient = halves(caps.ambient);
    for (let cap = 0; cap <= CAP_LAST_CAP; cap++) {
      if (has(ambient, cap)) kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap);
    }
  });
}

function has(set: U64, cap: number): boolean {
  return ((cap < 32 ? set.low >>> cap : set.high >>> (cap - 32)) & 1) === 1;
}
