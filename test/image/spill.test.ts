import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Spill } from '../../src/image/spill.ts';

const bytes = (length: number, seed: number) => Buffer.alloc(length, `${seed}-`);

test('what was kept comes back, from memory, from the file and from what waits for it; no file is left', () => {
  const dir = mkdtempSync(join(tmpdir(), 'squib-spill-'));
  try {
    const spill = new Spill(join(dir, 'spill'), 10_000);
    const lengths = Array.from({ length: 3000 }, (_, i) => (i * 97) % 900);
    lengths.push(400_000, 1, 300_000, 0, 700);
    const units = lengths.map((length, i) => spill.append(bytes(length, i)));
    assert.deepEqual(readdirSync(dir), [], 'the file has no name');
    const check = (i: number) =>
      assert.deepEqual(
        Buffer.from(spill.read(units[i] as number, lengths[i] as number)),
        bytes(lengths[i] as number, i),
      );
    for (let i = 0; i < lengths.length; i++) check(i);
    for (let i = lengths.length - 1; i >= 0; i -= 7) check(i);
    for (let i = 0; i < 1000; i++) check((i * 1009) % lengths.length);
    assert.throws(() => spill.read((units.at(-1) as number) + 1, 5000), { code: 'internal' });
    spill.close();
    spill.close();
  } finally {
    rmSync(dir, { recursive: true });
  }
});
