import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { initramfs } from '../../tools/initramfs.ts';
import { newc } from '../../tools/newc.ts';

const AGENT = Buffer.from('#!agent');
const MODULES = [
  { name: 'virtio', content: Buffer.from('ELF 1') },
  { name: 'virtio_mmio', content: Buffer.from('ELF two') },
];

describe('newc', () => {
  it('refuses what its header cannot hold', () => {
    for (const major of [-1, 2 ** 32, 1.5, Number.NaN]) {
      assert.throws(() => newc([{ path: 'x', mode: 0o020600, major }]), RangeError);
    }
  });

  it('writes the header as the kernel reads it, byte by byte', () => {
    const bytes = Buffer.from(newc([{ path: 'ab', mode: 0o100644, content: Buffer.from('hello') }]));
    const header = `07070100000001000081A4${'00000000'.repeat(2)}000000010000000000000005`;
    assert.equal(bytes.toString('latin1', 0, 62), header);
    assert.equal(bytes.toString('latin1', 62, 110), `${'00000000'.repeat(4)}0000000300000000`);
    // Name with its NUL, padded to 116; content, padded to 124; then the trailer.
    assert.equal(bytes.toString('latin1', 110, 124), 'ab\0\0\0\0hello\0\0\0');
    assert.equal(bytes.toString('latin1', 124, 130), '070701');
    assert.equal(bytes.length % 4, 0);
    assert.ok(bytes.includes('TRAILER!!!\0'));
  });
});

describe('initramfs', () => {
  it('is read by cpio: agent, devices, modules, and their order', (t) => {
    const list = spawnSync('cpio', ['-itv', '--numeric-uid-gid', '--quiet'], {
      input: initramfs(AGENT, MODULES),
    });
    if (list.error) return t.skip('no cpio');
    assert.equal(list.status, 0, `${list.stderr}`);
    const text = `${list.stdout}`;
    assert.match(text, /^-rwxr-xr-x +1 0 +0 +7 Jan +1 +1970 init$/m);
    assert.match(text, /^crw------- +1 0 +0 +5, +1 .* dev\/console$/m);
    assert.match(text, /^crw------- +1 0 +0 +1, +11 .* dev\/kmsg$/m);
    assert.match(text, /^-rw-r--r-- .* lib\/modules\/virtio\.ko$/m);
    const order = spawnSync('cpio', ['-i', '--to-stdout', '--quiet', 'modules'], {
      input: initramfs(AGENT, MODULES),
    });
    assert.equal(`${order.stdout}`, 'virtio\nvirtio_mmio\n');
    const program = spawnSync('cpio', ['-i', '--to-stdout', '--quiet', 'init'], {
      input: initramfs(AGENT, MODULES),
    });
    assert.equal(`${program.stdout}`, '#!agent');
  });
});
