import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { encodeHtreeNode, encodeHtreeRoot, halfMd4 } from '../../../src/image/ext4/htree.ts';

const UUID = '01020304-0506-0708-090a-0b0c0d0e0f10';
const SEED = Buffer.from(UUID.replaceAll('-', ''), 'hex');

/** debugfs' own hash; it prints "Hash of NAME is 0x… (minor 0x…)". */
function debugfsHash(name: string, seed: string | undefined): number {
  const command = `dx_hash -h half_md4${seed ? ` -s ${seed}` : ''} ${name}`;
  const said = execFileSync('debugfs', ['-R', command], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return Number(/is (0x[0-9a-f]+)/.exec(said)?.[1]);
}

test('hashes are those of e2fsprogs, for names of every length, with and without a seed', () => {
  const seeded = halfMd4(SEED);
  const plain = halfMd4(new Uint8Array(16));
  for (const length of [1, 2, 3, 4, 5, 8, 15, 16, 31, 32, 33, 35, 36, 63, 64, 65, 100, 200, 255]) {
    const name = Array.from({ length }, (_, i) => String.fromCharCode(97 + ((i * 7 + length) % 26))).join('');
    const bytes = Buffer.from(name);
    assert.equal(seeded(bytes), debugfsHash(name, UUID), `${length} bytes, seeded`);
    assert.equal(plain(bytes), debugfsHash(name, undefined), `${length} bytes`);
  }
});

test('a root and an inner block say how many entries they have, and how many they could', () => {
  const entries = Array.from({ length: 508 }, (_, i) => ({ hash: i * 2, block: i + 1 }));
  const root = encodeHtreeRoot(2, 2, 0, entries);
  const view = new DataView(root.buffer);
  assert.deepEqual([view.getUint16(32, true), view.getUint16(34, true)], [508, 508]);
  assert.deepEqual([view.getUint32(4088, true), view.getUint32(4092, true)], [1014, 508]);
  const node = encodeHtreeNode([{ hash: 99, block: 7 }]);
  const inner = new DataView(node.buffer);
  assert.deepEqual([inner.getUint32(0, true), inner.getUint16(4, true)], [0, 4096]);
  assert.deepEqual(
    [inner.getUint16(8, true), inner.getUint16(10, true), inner.getUint32(12, true)],
    [511, 1, 7],
  );
});
