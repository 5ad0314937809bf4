import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const top = join(dirname(fileURLToPath(import.meta.url)), '..');

/**
 * Who may import whom; a folder may always import itself. The longest matching prefix counts.
 * Reasons stand in CONTRIBUTING.md. `node` says whether files there may use Node's own modules:
 * what the guest agent shares must not, and lists its exceptions by name.
 */
const LAYERS: Readonly<Record<string, { imports: readonly string[]; node: boolean }>> = {
  'src/base': { imports: [], node: true },
  'src/ttrpc': { imports: ['src/base'], node: true },
  'src/proto': { imports: ['src/base'], node: false },
  'src/vsock': { imports: ['src/base'], node: true },
  'src/net': { imports: ['src/base'], node: true },
  oci: { imports: ['src/base'], node: false },
  'src/image': { imports: ['src/base', 'oci'], node: true },
  'src/vmm': { imports: ['src/base'], node: true },
  'src/vmm/qemu': { imports: ['src/base', 'src/vsock', 'src/vmm'], node: true },
  'src/vmm/firecracker': { imports: ['src/base', 'src/vsock', 'src/vmm'], node: true },
  'src/agent': { imports: ['src/base', 'src/proto', 'src/ttrpc', 'src/vsock', 'oci'], node: false },
  'src/shim': {
    imports: ['src/base', 'src/proto', 'src/ttrpc', 'src/vsock', 'src/net', 'oci', 'src/image', 'src/vmm'],
    node: true,
  },
};
/** Only these compose: they may import everything. */
const COMPOSERS = ['cmd', 'test', 'tools', 'bench', 'guest'];

const FILE_LINES_MAX = 450;
const TEST_LINES_MAX = 600;
const ENTRY_LINES_MAX = 80;
const LINE_CHARACTERS_MAX = 140;

interface Source {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly string[];
}

function tracked(pattern: string): string[] {
  const args = ['ls-files', '-co', '--exclude-standard', '--', pattern];
  return execFileSync('git', args, { cwd: top }).toString().split('\n').filter(Boolean);
}

const sources: readonly Source[] = tracked('*.ts').map((path) => {
  const text = readFileSync(join(top, path), 'utf8');
  const found = text.matchAll(
    /^(?:import|export)\b[^;]*?\bfrom\s*'([^']+)'|^import\s*'([^']+)'|\bimport\('([^']+)'\)/gm,
  );
  return { path, text, imports: [...found].map((m) => m[1] ?? m[2] ?? m[3] ?? '') };
});

function layerOf(path: string): string {
  const fits = [...Object.keys(LAYERS), ...COMPOSERS].filter((layer) => path.startsWith(`${layer}/`));
  return fits.sort((a, b) => b.length - a.length)[0] ?? '';
}

test('every source file belongs to a layer', () => {
  assert.ok(sources.length > 10, 'the scan found the sources');
  assert.deepEqual(
    sources.filter((s) => layerOf(s.path) === '').map((s) => s.path),
    [],
  );
});

test('imports keep to the layer table', () => {
  const breaches: string[] = [];
  let seen = 0;
  for (const { path, imports } of sources) {
    const rule = LAYERS[layerOf(path)];
    if (!rule) continue;
    for (const specifier of imports) {
      seen++;
      if (specifier.startsWith('.')) {
        const target = layerOf(relative(top, join(top, dirname(path), specifier)));
        if (target !== layerOf(path) && !rule.imports.includes(target)) {
          breaches.push(
            `${path} imports ${specifier} of ${target || 'no layer'}; allowed: ${rule.imports.join(', ') || 'nothing'}`,
          );
        }
      } else if (specifier.startsWith('node:') && !rule.node) {
        breaches.push(`${path} imports ${specifier}; its layer runs without Node`);
      }
    }
  }
  assert.ok(seen > 10, 'the scan found imports');
  assert.deepEqual(breaches, []);
});

test('imports form no cycle, type imports included', () => {
  const graph = new Map(
    sources.map(({ path, imports }) => [
      path,
      imports.filter((s) => s.startsWith('.')).map((s) => relative(top, join(top, dirname(path), s))),
    ]),
  );
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    assert.ok(
      !trail.includes(path),
      `import cycle: ${[...trail.slice(trail.indexOf(path)), path].join(' → ')}`,
    );
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

test('files stay readable in size', () => {
  const limit = (path: string) =>
    path.startsWith('cmd/') ? ENTRY_LINES_MAX : path.startsWith('test/') ? TEST_LINES_MAX : FILE_LINES_MAX;
  const long = [
    ...sources,
    ...tracked('*.c').map((path) => ({ path, text: readFileSync(join(top, path), 'utf8') })),
  ]
    .filter(
      ({ path, text }) =>
        text.split('\n').length > limit(path) && !path.startsWith('src/agent/sys/syscalls-'),
    )
    .map(({ path, text }) => `${path}: ${text.split('\n').length} lines, at most ${limit(path)}`);
  assert.deepEqual(long, []);
});

test('no over-long lines, no control characters, no drawer names', () => {
  const faults: string[] = [];
  for (const { path, text } of sources) {
    if (/(^|\/)(utils?|common|helpers?|types|misc)\.ts$/.test(path))
      faults.push(`${path}: a drawer, not a noun`);
    text.split('\n').forEach((line, i) => {
      if (line.length > LINE_CHARACTERS_MAX) faults.push(`${path}:${i + 1}: ${line.length} characters`);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what this looks for
      if (/[\x00-\x08\x0b-\x1f\x7f]/.test(line)) faults.push(`${path}:${i + 1}: control character`);
    });
  }
  assert.deepEqual(faults, []);
});

test('nothing names this machine or a package registry host', () => {
  // The one-letter classes keep this file from naming them itself.
  const names = /registry\.npm[j]s|deb\.debian\.[o]rg|\/wor[k]\/main/;
  const texts = tracked('*').filter((path) => !/^(test\/vectors\/.*\.bin|LICENSE)$/.test(path));
  assert.deepEqual(
    texts.filter((path) => names.test(readFileSync(join(top, path), 'latin1'))),
    [],
  );
});
