import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** A directory that becomes an image, and the same as tars. */
export interface Tree {
  readonly name: string;
  readonly dir: string;
  readonly tar: string;
  readonly gzip: string;
  readonly zstd: string;
  readonly entries: number;
}

/** Packages with many small files, pinned: together about 57,000. */
const PACKAGES = [
  '@mui/icons-material@5.16.7',
  '@tabler/icons@3.17.0',
  'date-fns@3.6.0',
  'rxjs@7.8.1',
  'lodash@4.17.21',
  '@babel/core@7.25.2',
  'webpack@5.94.0',
  'eslint@9.10.0',
  'react-dom@18.3.1',
];

const RANDOM_FILES = 4;
const RANDOM_FILE_MIB = 200;

function run(command: string, args: readonly string[], cwd?: string): string {
  return execFileSync(command, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  }).toString();
}

/** What apt installs from. */
function aptTarget(): { mirror: string; suite: string } {
  const line = run('apt-get', ['indextargets', '--format', '$(REPO_URI) $(RELEASE)']).split('\n')[0] ?? '';
  const [mirror = '', suite = ''] = line.split(' ');
  return { mirror, suite };
}

const MAKERS: Readonly<Record<string, (dir: string) => void>> = {
  debootstrap(dir) {
    const { mirror, suite } = aptTarget();
    run('debootstrap', ['--variant=minbase', suite, dir, mirror]);
    rmSync(join(dir, 'var/cache/apt/archives'), { recursive: true, force: true });
  },
  small(dir) {
    const options = [
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--legacy-peer-deps',
      '--no-package-lock',
    ];
    run('npm', ['install', '--prefix', dir, ...options, ...PACKAGES]);
  },
  random(dir) {
    for (let i = 0; i < RANDOM_FILES; i++) {
      run('sh', ['-c', `head -c ${RANDOM_FILE_MIB}M /dev/urandom > "${dir}/${i}"`]);
    }
  },
};

export const TREE_NAMES: readonly string[] = Object.keys(MAKERS);

/** Makes a tree and its tars below `base`, unless an earlier run did. */
export function treeOf(name: string, base: string): Tree {
  const dir = join(base, name);
  const made = (path: string, make: (unfinished: string) => void): string => {
    if (!existsSync(path)) {
      const unfinished = `${path}.unfinished`;
      rmSync(unfinished, { recursive: true, force: true });
      make(unfinished);
      renameSync(unfinished, path);
    }
    return path;
  };
  made(dir, (unfinished) => {
    mkdirSync(unfinished, { recursive: true });
    MAKERS[name]?.(unfinished);
  });
  const tar = made(`${dir}.tar`, (to) => run('tar', ['--format=pax', '--xattrs', '-C', dir, '-cf', to, '.']));
  const gzip = made(`${dir}.tar.gz`, (to) => run('sh', ['-c', `gzip -c "${tar}" > "${to}"`]));
  const zstd = made(`${dir}.tar.zst`, (to) => run('sh', ['-c', `zstd -q -c "${tar}" > "${to}"`]));
  return { name, dir, tar, gzip, zstd, entries: Number(run('sh', ['-c', `find "${dir}" | wc -l`])) };
}
