import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { runCommand } from '../base/command.ts';

/** A conversion copies whole images; minutes are normal for gigabytes on a slow disk. */
const CONVERT_TIMEOUT_MS = 600_000;
const SCRATCH_TIMEOUT_MS = 30_000;

/**
 * Flattens directories into a read-only ext4 at `out`, complete or absent. Of several callers at
 * once, in one process or many, one builds and the others wait for it and use what it made.
 * The merged view is an overlay mount in a mount namespace of its own, so the host sees no mount
 * and a killed conversion leaves none.
 * @param lowerDirs top-most first.
 */
export async function flattenDirectories(lowerDirs: readonly string[], out: string): Promise<void> {
  const staging = await mkdtemp(join(dirname(out), '.squib-flatten-'));
  try {
    await mkdir(join(staging, 'merged'));
    // Short relative names: mount(2) takes one page of options, which 50 absolute paths overflow.
    await Promise.all(lowerDirs.map((dir, i) => symlink(dir, join(staging, `l${i}`))));
    const lower = lowerDirs.map((_, i) => `l${i}`).join(':');
    const script =
      lowerDirs.length === 1 ? `cd l0/ && ${MAKE_IMAGE}` : `${MOUNT_MERGED} && cd merged && ${MAKE_IMAGE}`;
    await runCommand(
      'flock',
      [
        `${out}.lock`,
        'unshare',
        '-m',
        '--propagation',
        'private',
        'sh',
        '-euc',
        `[ ! -e "$1" ] || exit 0; ${script}`,
        'sh',
        out,
        join(staging, 'image'),
        lower,
      ],
      { timeoutMs: CONVERT_TIMEOUT_MS, cwd: staging },
    );
  } finally {
    await rm(staging, { recursive: true, force: true });
    await rm(`${out}.lock`, { force: true });
  }
}

const MOUNT_MERGED = 'mount -t overlay overlay -o "ro,lowerdir=$3" merged';

/**
 * Sizes by what du counts with a quarter on top for metadata; the image file is sparse, so what is
 * too much costs nothing. No journal and no lazy initialisation: nobody ever writes to it.
 */
const MAKE_IMAGE = [
  'kib=$(du -sk . | cut -f1)',
  'inodes=$(du -s --inodes . | cut -f1)',
  'mke2fs -q -F -t ext4 -b 4096 -I 256 -m 0 -O ^has_journal,^resize_inode,^metadata_csum' +
    ' -E lazy_itable_init=1,nodiscard -N $((inodes + inodes / 8 + 64)) -d . "$2" $((kib + kib / 4 + inodes + 16384))k',
  // A container's root has no lost+found with runc either.
  'debugfs -w -R "rmdir lost+found" "$2" 2>/dev/null',
  'sync "$2"',
  'chmod 0600 "$2"',
  'mv "$2" "$1"',
].join('\n');

/**
 * Makes a sparse writable ext4 of `bytes` at `out`, with the content of `upperDir`, if it has any,
 * under `/upper`: what the host wrote there before the first start belongs to the container.
 */
export async function makeScratch(out: string, bytes: number, upperDir: string | undefined): Promise<void> {
  const temporary = `${out}.tmp-${process.pid}`;
  const base = ['-q', '-F', '-t', 'ext4', '-b', '4096', '-m', '0', ...SCRATCH_FEATURES];
  const size = `${Math.floor(bytes / 1024)}k`;
  try {
    if (upperDir === undefined) {
      await runCommand('mke2fs', [...base, temporary, size], { timeoutMs: SCRATCH_TIMEOUT_MS });
    } else {
      const script =
        'mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" && mount --rbind "$2" "$1/upper" && root=$1 && shift 2 && mke2fs -d "$root" "$@"';
      const mountPoint = await mkdtemp(`${out}.dir-`);
      try {
        await runCommand(
          'unshare',
          [
            '-m',
            '--propagation',
            'private',
            'sh',
            '-euc',
            script,
            'sh',
            mountPoint,
            upperDir,
            ...base,
            temporary,
            size,
          ],
          { timeoutMs: CONVERT_TIMEOUT_MS },
        );
      } finally {
        await rm(mountPoint, { recursive: true, force: true });
      }
    }
    await runCommand('mv', [temporary, out], { timeoutMs: SCRATCH_TIMEOUT_MS });
  } finally {
    await rm(temporary, { force: true });
  }
}

/** A file that reads as zeroes needs no initialised inode tables; without a journal it stays small. */
const SCRATCH_FEATURES = [
  '-O',
  '^has_journal,^resize_inode,64bit,metadata_csum,flex_bg,sparse_super2',
  '-E',
  'lazy_itable_init=1,assume_storage_prezeroed=1,packed_meta_blocks=1,nodiscard',
  '-i',
  '65536',
];
