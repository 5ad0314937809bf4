import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SquibError } from '../../../src/base/errors.ts';
import { TarBudget } from '../../../src/image/tar/budget.ts';
import type { TarLimits } from '../../../src/image/tar/limits.ts';
import { archive, END, header, type Member, member, padded, paxRecord } from './archive.ts';
import { scan } from './collector.ts';

/** Every kind of extension in a few kilobytes. */
const MEMBERS: readonly Member[] = [
  { name: 'dir/', type: '5' },
  { name: 'dir/file', data: 'content '.repeat(100), pax: { mtime: '5.25', 'SCHILY.xattr.user.a': 'b' } },
  { name: 'cut', type: '2', link: 'target' },
  {
    name: 'sparse',
    data: `${padded('1\n700\n5\n').toString('latin1')}abcde`,
    pax: { 'GNU.sparse.major': '1', 'GNU.sparse.name': 'real', 'GNU.sparse.realsize': '1000' },
  },
  { name: 'last', data: 'x' },
];

/** Where members end and so an archive without end marker could. */
function boundaries(): Set<number> {
  let at = 0;
  return new Set([0, ...MEMBERS.map((m) => (at += member(m).length))]);
}

function refused(bytes: Uint8Array, pattern: RegExp, code?: string, limits?: Partial<TarLimits>): void {
  for (const step of [bytes.length, 100]) {
    assert.throws(
      () => scan(bytes, step, new TarBudget(limits)),
      (error) => {
        assert.ok(error instanceof SquibError, String(error));
        assert.match(error.message, pattern);
        assert.match(error.message, /^tar entry( "(?:[^"\\]|\\.)*")? at byte \d+: ./);
        if (code !== undefined) assert.equal(error.code, code);
        return true;
      },
    );
  }
}

test('cut at every byte: an error that says where, or the end between two entries', () => {
  const bytes = archive(...MEMBERS);
  const ends = boundaries();
  const marker = bytes.length - 1024;
  let errors = 0;
  for (let cut = 1; cut < bytes.length; cut++) {
    const part = bytes.subarray(0, cut);
    if (ends.has(cut) || cut === marker + 512) {
      scan(part);
      continue;
    }
    errors++;
    assert.throws(
      () => scan(part),
      (error) => {
        assert.ok(error instanceof SquibError && error.code === 'data-loss', `${cut}: ${error}`);
        assert.match(error.message, /^tar entry.* at byte \d+: .*truncated$/);
        return true;
      },
      `cut at ${cut}`,
    );
  }
  assert.equal(errors, bytes.length - 1 - MEMBERS.length - 1);
});

test('the error of a cut names the entry, its offset and what is missing', () => {
  const bytes = archive({ name: 'first' }, { name: 'second', data: 'x'.repeat(600) });
  refused(
    bytes.subarray(0, 1024 + 500),
    /^tar entry "second" at byte 512: input ends at byte 1524 within the content, 100 of its bytes missing: truncated$/,
  );
  refused(
    bytes.subarray(0, 700),
    /^tar entry at byte 512: input ends at byte 700 within the header: truncated$/,
  );
  const pax = archive({ pax: { path: 'a' } });
  refused(
    pax.subarray(0, 1024),
    /ends at byte 1024 after an extended header, its entry missing: truncated$/,
    'data-loss',
  );
  refused(
    Buffer.concat([pax.subarray(0, 1024), END]),
    /ends after an extended header, its entry missing/,
    'data-loss',
  );
});

test('no input is no archive', () => {
  assert.throws(() => scan(Buffer.alloc(0)), { code: 'data-loss', message: /input is empty/ });
});

test('every byte changed in turn: a checksum tells, or the content differs, never a crash', () => {
  const bytes = archive(...MEMBERS);
  const whole = scan(bytes);
  for (let at = 0; at < bytes.length; at++) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] as number) ^ flip;
      try {
        assert.ok(scan(damaged).length <= whole.length);
      } catch (error) {
        assert.ok(error instanceof SquibError && error.code !== 'internal', `byte ${at}: ${error}`);
        assert.match(error.message, /^tar entry.* at byte \d+: ./, `byte ${at}`);
      }
    }
  }
});

test('property: spliced, cut and overwritten archives end in entries or in a SquibError', () => {
  const bytes = archive(...MEMBERS);
  const blocks = bytes.length / 512;
  const change = fc.record({
    from: fc.integer({ min: 0, max: blocks - 1 }),
    to: fc.integer({ min: 0, max: blocks - 1 }),
    count: fc.integer({ min: 1, max: 3 }),
    noise: fc.uint8Array({ maxLength: 24 }),
    at: fc.integer({ min: 0, max: bytes.length - 1 }),
    sign: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 2000 }),
      (changes, step) => {
        const damaged = Buffer.from(bytes);
        for (const { from, to, count, noise, at, sign: valid } of changes) {
          bytes.copy(damaged, to * 512, from * 512, (from + count) * 512);
          damaged.set(noise.subarray(0, damaged.length - at), at);
          if (valid) resign(damaged, at - (at % 512));
        }
        try {
          scan(damaged, step);
        } catch (error) {
          assert.ok(error instanceof SquibError && error.code !== 'internal', String(error));
        }
      },
    ),
    { numRuns: 3000 },
  );
});

/** Gives a block a checksum that fits, so that the damage gets past it. */
function resign(bytes: Buffer, at: number): void {
  const block = bytes.subarray(at, at + 512);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

test('not a tar', () => {
  refused(Buffer.from('hello '.repeat(200)), /checksum is "o hello "/, 'invalid-argument');
  refused(Buffer.alloc(1024, 0x31), /damaged, or no tar archive/, 'data-loss');
  refused(Buffer.concat([Buffer.alloc(512), member({ name: 'a' })]), /a lone block of zeros/, 'data-loss');
});

test('fields that are no numbers, or impossible ones', () => {
  const field = (at: number, text: string): Member => ({
    name: 'e',
    edit: (block) => block.write(text, at, 'latin1'),
  });
  refused(archive(field(100, '64x')), /mode is "64x/, 'invalid-argument');
  refused(archive(field(124, '-1')), /size is "-1/);
  refused(archive(field(124, '\x80'.repeat(2) + '\xff'.repeat(10))), /size does not fit into 53 bits/);
  refused(archive({ size: -1 }), /size -1 is negative/);
  refused(archive({ uid: -1 }), /uid -1 is not within 0\.\.4294967294/);
  refused(archive({ gid: 2 ** 32 - 1 }), /gid 4294967295/);
  refused(archive({ type: '3', major: 4096 }), /device 4096:0 exceeds/);
  refused(archive({ type: '4', minor: 2 ** 20 }), /device 0:1048576 exceeds/);
  refused(archive({ name: '', data: 'x' }), /no name/);
  refused(archive({ type: '2', link: '' }), /link has no target/);
  refused(archive({ type: 'M' }), /entry type "M"/, 'unimplemented');
  refused(archive({ name: 'a/', data: 'content' }), /ends in a slash/);
});

test('pax records that are malformed', () => {
  const raw = (text: string) =>
    Buffer.concat([header({ type: 'x', data: text }), padded(text), archive({ name: 'e' })]);
  for (const text of [
    '6 a=b', // one byte short
    '5 a=b\n', // ends before its line does
    '7 a=b\n', // reaches behind the header
    '0 a=b\n',
    '-6 a=b\n',
    'a=b\n',
    ' 6 a=b\n',
    '999999999999 a=b\n',
    '6 =ab\n',
    '6 abc\n',
    '3 \n',
    '\0\0x',
  ])
    refused(raw(text), /pax record at byte 0 of its header is malformed/, 'invalid-argument');
  refused(raw(`${paxRecord('uid', '1')}x`), /pax record at byte 8 of/);
  for (const [key, value] of [
    ['size', '1e3'],
    ['uid', '-1'],
    ['mtime', '1.2.3'],
    ['mtime', '--1'],
    ['mtime', '.'],
    ['gid', '99999999999999999999'],
  ] as const)
    refused(
      archive({ pax: { [key]: value } }),
      new RegExp(`pax ${key} is .* not a decimal`),
      'invalid-argument',
    );
  refused(archive({ pax: { path: 'a\0b' } }), /pax path holds a NUL/);
  refused(archive({ pax: { 'SCHILY.xattr.a\0b': 'x' } }), /extended attribute holds a NUL/);
});

test('bombs stop at named limits before they cost anything', () => {
  refused(archive({ size: 2 ** 50 }), /declares 1125899906842624 bytes/, 'resource-exhausted');
  refused(archive({ pax: { size: String(2 ** 52) } }), /declares/, 'resource-exhausted');
  refused(
    header({ type: 'x', size: 2 ** 33 }),
    /extended header of 8589934592 bytes, at most 1048576/,
    'resource-exhausted',
  );
  refused(header({ type: 'L', size: 1_048_577 }), /extended header of 1048577/, 'resource-exhausted');
  const hole = { 'GNU.sparse.size': String(2 ** 45), 'GNU.sparse.map': '0,0' };
  refused(archive({ pax: hole }), /file of 35184372088832 bytes/, 'resource-exhausted');
  const many = archive(...Array.from({ length: 4 }, (_, i) => ({ name: `f${i}` })));
  refused(many, /^tar entry "f3" at byte 1536: more than 3 entries/, 'resource-exhausted', { entries: 3 });
  refused(
    Buffer.concat([archive({ name: 'a' }), Buffer.alloc(5000)]),
    /more than 4000 bytes of tar/,
    'resource-exhausted',
    {
      streamBytes: 4000,
    },
  );
});
