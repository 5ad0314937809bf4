import type { SpecRlimit } from '../../../oci/runtime-spec.ts';
import { SquibError } from '../../base/errors.ts';

/** RLIMIT_* of asm-generic/resource.h, the same on x86_64 and arm64. */
const NUMBERS: Readonly<Record<string, number>> = {
  RLIMIT_CPU: 0,
  RLIMIT_FSIZE: 1,
  RLIMIT_DATA: 2,
  RLIMIT_STACK: 3,
  RLIMIT_CORE: 4,
  RLIMIT_RSS: 5,
  RLIMIT_NPROC: 6,
  RLIMIT_NOFILE: 7,
  RLIMIT_MEMLOCK: 8,
  RLIMIT_AS: 9,
  RLIMIT_LOCKS: 10,
  RLIMIT_SIGPENDING: 11,
  RLIMIT_MSGQUEUE: 12,
  RLIMIT_NICE: 13,
  RLIMIT_RTPRIO: 14,
  RLIMIT_RTTIME: 15,
};

/** @throws SquibError `invalid-argument` for an unknown or repeated name, or soft above hard. */
export function planRlimits(
  rlimits: readonly SpecRlimit[],
): { resource: number; soft: bigint; hard: bigint }[] {
  const seen = new Set<number>();
  return rlimits.map(({ type, soft, hard }, i) => {
    const resource = Object.hasOwn(NUMBERS, type) ? NUMBERS[type] : undefined;
    if (resource === undefined) {
      throw new SquibError(
        'invalid-argument',
        `process.rlimits[${i}].type: "${type}" is no rlimit; expected a RLIMIT_ name`,
      );
    }
    if (seen.has(resource)) {
      throw new SquibError('invalid-argument', `process.rlimits[${i}].type: ${type} is there twice`);
    }
    if (soft > hard) {
      throw new SquibError(
        'invalid-argument',
        `process.rlimits[${i}]: soft limit ${soft} is above the hard limit ${hard}`,
      );
    }
    seen.add(resource);
    return { resource, soft, hard };
  });
}
