import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
/** DESIGN: what the agent may add to every guest. */
const AGENT_BYTES_MAX = 500_000;
const PARTS = ['cmd', 'guest', 'oci', 'src', 'tools', 'package.json', 'tsconfig.json'];
/** Not copied: fetched by tools/setup, and the same for both builds. */
const SHARED = ['node_modules', 'build/quickjs', 'build/kernel'];

const missing = ['build/quickjs', 'build/kernel', 'cmd/agent.ts'].find(
  (path) => !existsSync(join(ROOT, path)),
);

describe('tools/build-guest', { skip: missing && `no ${missing}: run tools/setup` }, () => {
  it('makes the same bytes in another checkout, with objects compiled anew, at another time', () => {
    const work = mkdtempSync(join(tmpdir(), 'squib-build-'));
    try {
      const checkout = join(work, 'a-checkout-with-a-longer-name');
      for (const part of PARTS) cpSync(join(ROOT, part), join(checkout, part), { recursive: true });
      execFileSync('mkdir', ['-p', join(checkout, 'build')]);
      for (const part of SHARED) symlinkSync(join(ROOT, part), join(checkout, part));
      const out = join(work, 'out');
      execFileSync(join(checkout, 'tools/build-guest'), [], { stdio: 'pipe' });
      execFileSync(join(ROOT, 'tools/build-guest'), ['--out', out], { stdio: 'pipe' });
      for (const name of ['agent', 'initramfs']) {
        const [here, there] = [join(out, name), join(checkout, 'build/guest', name)].map((path) =>
          readFileSync(path),
        );
        assert.ok(
          here && there && here.equals(there),
          `${name} differs: ${here?.length} and ${there?.length} bytes`,
        );
        assert.equal(here.includes(ROOT), false, `${name} holds the path of this checkout`);
      }
      assert.ok(statSync(join(out, 'agent')).size <= AGENT_BYTES_MAX, 'agent within its size');
    } finally {
      rmSync(work, { recursive: true });
    }
  });
});
