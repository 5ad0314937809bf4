/**
 * A mount's options of the runtime spec as the kernel takes them. The table and the treatment of
 * unknown names (they are the file system's own data) are those of runc's specconv.
 */
export interface MountFlags {
  /** MS_* of linux/mount.h. */
  readonly flags: number;
  /** MS_SHARED and the like, perhaps with MS_REC; 0: none. */
  readonly propagation: number;
  /** What is left, for the file system. */
  readonly data: string;
  /** Options that are runc's own extensions, which no flag of mount(2) expresses. */
  readonly extensions: readonly string[];
}

const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_SYNCHRONOUS = 16;
const MS_REMOUNT = 32;
const MS_MANDLOCK = 64;
const MS_DIRSYNC = 128;
const MS_NOSYMFOLLOW = 256;
const MS_NOATIME = 1024;
const MS_NODIRATIME = 2048;
export const MS_BIND = 4096;
const MS_REC = 16384;
const MS_SILENT = 32768;
const MS_POSIXACL = 1 << 16;
const MS_UNBINDABLE = 1 << 17;
const MS_PRIVATE = 1 << 18;
const MS_SLAVE = 1 << 19;
const MS_SHARED = 1 << 20;
const MS_RELATIME = 1 << 21;
const MS_I_VERSION = 1 << 23;
const MS_STRICTATIME = 1 << 24;
const MS_LAZYTIME = 1 << 25;

const SET: Readonly<Record<string, number>> = {
  acl: MS_POSIXACL,
  bind: MS_BIND,
  defaults: 0,
  dirsync: MS_DIRSYNC,
  iversion: MS_I_VERSION,
  lazytime: MS_LAZYTIME,
  mand: MS_MANDLOCK,
  noatime: MS_NOATIME,
  nodev: MS_NODEV,
  nodiratime: MS_NODIRATIME,
  noexec: MS_NOEXEC,
  nosuid: MS_NOSUID,
  nosymfollow: MS_NOSYMFOLLOW,
  rbind: MS_BIND | MS_REC,
  relatime: MS_RELATIME,
  remount: MS_REMOUNT,
  ro: MS_RDONLY,
  silent: MS_SILENT,
  strictatime: MS_STRICTATIME,
  sync: MS_SYNCHRONOUS,
};

const CLEAR: Readonly<Record<string, number>> = {
  async: MS_SYNCHRONOUS,
  atime: MS_NOATIME,
  dev: MS_NODEV,
  diratime: MS_NODIRATIME,
  exec: MS_NOEXEC,
  loud: MS_SILENT,
  noacl: MS_POSIXACL,
  noiversion: MS_I_VERSION,
  nolazytime: MS_LAZYTIME,
  nomand: MS_MANDLOCK,
  norelatime: MS_RELATIME,
  nostrictatime: MS_STRICTATIME,
  rw: MS_RDONLY,
  suid: MS_NOSUID,
  symfollow: MS_NOSYMFOLLOW,
};

const PROPAGATION: Readonly<Record<string, number>> = {
  private: MS_PRIVATE,
  rprivate: MS_PRIVATE | MS_REC,
  rshared: MS_SHARED | MS_REC,
  rslave: MS_SLAVE | MS_REC,
  runbindable: MS_UNBINDABLE | MS_REC,
  shared: MS_SHARED,
  slave: MS_SLAVE,
  unbindable: MS_UNBINDABLE,
};

/** Recursive attributes (mount_setattr), id-mapped mounts and copy-up: runc's extensions. */
const EXTENSIONS = new Set([
  'idmap',
  'ratime',
  'rdev',
  'rdiratime',
  'rexec',
  'ridmap',
  'rnoatime',
  'rnodev',
  'rnodiratime',
  'rnoexec',
  'rnorelatime',
  'rnostrictatime',
  'rnosuid',
  'rnosymfollow',
  'rrelatime',
  'rro',
  'rrw',
  'rstrictatime',
  'rsuid',
  'rsymfollow',
  'tmpcopyup',
]);

export function parseMountOptions(options: readonly string[]): MountFlags {
  let flags = 0;
  let propagation = 0;
  const data: string[] = [];
  const extensions: string[] = [];
  for (const option of options) {
    if (Object.hasOwn(SET, option)) flags |= SET[option] as number;
    else if (Object.hasOwn(CLEAR, option)) flags &= ~(CLEAR[option] as number);
    else if (Object.hasOwn(PROPAGATION, option)) propagation |= PROPAGATION[option] as number;
    else if (EXTENSIONS.has(option)) extensions.push(option);
    else if (option !== '') data.push(option);
  }
  return { flags, propagation, data: data.join(','), extensions };
}
