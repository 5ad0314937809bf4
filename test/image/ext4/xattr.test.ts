import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  compareXattrs,
  decodeXattrBlock,
  decodeXattrBody,
  encodeXattrBlock,
  encodeXattrBody,
  fromXattrEntry,
  inlineDataEntry,
  isInlineData,
  toXattrEntry,
  type XattrEntry,
  xattrBytes,
} from '../../../src/image/ext4/xattr.ts';

const entry = (name: string, value: Uint8Array) => toXattrEntry(name, value);
const plain = (e: XattrEntry) => ({ ...e, value: Buffer.from(e.value) });

test('whatever the bytes of a block or a body are: entries within it, or data-loss', () => {
  const good = encodeXattrBlock(
    [entry('user.a', Buffer.from('value')), entry('user.bb', Buffer.alloc(9))],
    1,
  );
  const flips = fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(flips, (changes) => {
      const block = good.slice();
      for (const [at, value] of changes) block[at] = value;
      try {
        for (const { value } of decodeXattrBlock(block)) assert.ok(value.length <= 4096);
      } catch (error) {
        assert.match((error as { code: string }).code, /data-loss|unimplemented/);
      }
    }),
    { numRuns: 2000 },
  );
  assert.throws(() => decodeXattrBlock(new Uint8Array(10)), { code: 'data-loss' });
  assert.deepEqual(decodeXattrBody(new Uint8Array(3)), []);
  assert.deepEqual(decodeXattrBody(new Uint8Array(100)), []);
});

test('entries come back from block and body, in the order in which they went in', () => {
  const name = fc.string({ minLength: 1, maxLength: 20, unit: fc.constantFrom('a', 'b', '.', '\xe9') });
  const attribute = fc.tuple(
    fc.constantFrom('user.', 'trusted.', 'security.'),
    name,
    fc.uint8Array({ maxLength: 30 }),
  );
  fc.assert(
    fc.property(fc.uniqueArray(attribute, { maxLength: 8, selector: ([p, n]) => p + n }), (attributes) => {
      const entries = attributes.map(([prefix, n, value]) => entry(prefix + n, value)).sort(compareXattrs);
      const back = decodeXattrBlock(encodeXattrBlock(entries, 3));
      assert.deepEqual(back.map(plain), entries.map(plain));
      const area = new Uint8Array(8 + entries.reduce((sum, e) => sum + xattrBytes(e), 0));
      encodeXattrBody(entries, area);
      assert.deepEqual(decodeXattrBody(area).map(plain), entries.map(plain), 'it fits exactly');
      for (const [i, e] of entries.entries())
        assert.equal(fromXattrEntry(e)?.name, fromXattrEntry(back[i] as XattrEntry)?.name);
    }),
  );
});

test('inline data is no attribute that anyone sees', () => {
  const inline = inlineDataEntry(Buffer.from('rest'));
  assert.ok(isInlineData(inline));
  assert.ok(!isInlineData(entry('user.data', Buffer.alloc(0))));
  assert.equal(fromXattrEntry(inline), undefined);
});

test('names: ACLs by their whole name, prefixes with something behind them', () => {
  assert.deepEqual(plain(entry('user.system.x', Buffer.alloc(1))), {
    index: 1,
    name: 'system.x',
    value: Buffer.alloc(1),
  });
  assert.equal(entry('trusted.overlay.opaque', Buffer.from('y')).index, 4);
  const acl = Buffer.from('0200000001000700ffffffff', 'hex');
  assert.deepEqual(plain(entry('system.posix_acl_default', acl)), {
    index: 3,
    name: '',
    value: Buffer.from('0100000001000700', 'hex'),
  });
  for (const name of ['user.', 'user', 'system.posix_acl_access2', 'system.data', 'os2.x', ''])
    assert.throws(() => entry(name, acl), { code: 'unimplemented' }, name);
});

test('the hash of a block is made of those of its entries', () => {
  // Of "a" and "b": the name's hash, shifted, and the value's padded word. With one entry both are the same.
  const block = encodeXattrBlock([entry('user.a', Buffer.from('b'))], 1);
  const view = new DataView(block.buffer);
  const hash = ((0x61 << 16) ^ 0x62) >>> 0;
  assert.equal(view.getUint32(32 + 12, true), hash);
  assert.equal(view.getUint32(12, true), hash);
});
