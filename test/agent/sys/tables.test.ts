import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ARM64 } from '../../../src/agent/sys/syscalls-arm64.ts';
import { X64 } from '../../../src/agent/sys/syscalls-x64.ts';

const ROOT = join(import.meta.dirname, '../../..');
const COMMITTED = join(ROOT, 'src/agent/sys');
const GENERIC_HEADER = '/usr/include/asm-generic/unistd.h';

describe('the generated tables', () => {
  it('are what the kernel headers of this machine give', (t) => {
    if (!existsSync('/usr/include/linux/openat2.h') || spawnSync('gcc', ['--version']).error) {
      t.skip('no gcc or no kernel headers (Debian: gcc, linux-libc-dev)');
      return;
    }
    const out = mkdtempSync(join(tmpdir(), 'squib-tables-'));
    try {
      const run = spawnSync(join(ROOT, 'tools/gen-sys-tables'), [out], { encoding: 'utf8' });
      assert.equal(run.status, 0, run.stderr);
      const names = readdirSync(out);
      assert.ok(names.includes('syscalls-x64.ts') && names.includes('structs.ts'), names.join());
      for (const name of names) {
        assert.equal(
          readFileSync(join(out, name), 'utf8'),
          readFileSync(join(COMMITTED, name), 'utf8'),
          name,
        );
      }
    } finally {
      rmSync(out, { recursive: true });
    }
  });

  it('have arm64’s numbers as the generic table has them', (t) => {
    if (!existsSync(GENERIC_HEADER)) {
      t.skip(`no ${GENERIC_HEADER} (Debian: linux-libc-dev)`);
      return;
    }
    const numbers = new Map<string, number>();
    const header = readFileSync(GENERIC_HEADER, 'utf8');
    for (const [, name, nr] of header.matchAll(/^#define __NR(?:3264)?_(\w+) (\d+)$/gm)) {
      numbers.set(name as string, Number(nr));
    }
    const calls = Object.entries(ARM64).filter(([name]) => !/^(O_|epollEvent)/.test(name));
    assert.ok(calls.length > 90);
    for (const [name, nr] of calls) assert.equal(nr, numbers.get(name), name);
  });

  it('have the same names on both architectures', () => {
    assert.deepEqual(Object.keys(ARM64), Object.keys(X64));
  });
});
