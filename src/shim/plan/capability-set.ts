/** Linux's capabilities by number (linux/capability.h); the list is the kernel's, up to 6.x. */
const NAMES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
];

const NUMBERS = new Map(NAMES.map((name, number) => [`CAP_${name}`, number]));

/**
 * The bits of a list of names. A name that this kernel list does not know goes to `unknown`: runc
 * leaves it out with a warning, and so do we.
 */
export function capabilityBits(names: readonly string[], unknown: (name: string) => void): bigint {
  let bits = 0n;
  for (const name of names) {
    const number = NUMBERS.get(name);
    if (number === undefined) unknown(name);
    else bits |= 1n << BigInt(number);
  }
  return bits;
}
