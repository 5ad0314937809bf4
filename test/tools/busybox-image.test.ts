import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { busyboxImage } from '../../tools/busybox-image.ts';
import { ustar } from '../../tools/ustar.ts';

test('the image is an OCI layout whose digests hold, and the same bytes each time', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'squib-image-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const tar = busyboxImage('example/name:1');
  assert.ok(tar.equals(busyboxImage('example/name:1')));
  execFileSync('tar', ['-x', '-C', dir], { input: tar });
  const blobs = join(dir, 'blobs', 'sha256');
  for (const name of readdirSync(blobs)) {
    assert.equal(
      createHash('sha256')
        .update(readFileSync(join(blobs, name)))
        .digest('hex'),
      name,
    );
  }
  const index = JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8'));
  assert.equal(index.manifests[0].annotations['io.containerd.image.name'], 'example/name:1');
  const blob = (d: { digest: string; size: number }) => {
    const path = join(blobs, d.digest.replace('sha256:', ''));
    assert.equal(statSync(path).size, d.size);
    return path;
  };
  const manifest = JSON.parse(readFileSync(blob(index.manifests[0]), 'utf8'));
  const config = JSON.parse(readFileSync(blob(manifest.config), 'utf8'));
  assert.deepEqual(
    config.rootfs.diff_ids,
    manifest.layers.map((layer: { digest: string }) => layer.digest),
  );
  assert.equal(manifest.layers.length, 3);
  manifest.layers.forEach(blob);
});

test('tar reads what ustar wrote: kinds, modes, owners, links and sizes', () => {
  const bytes = ustar([
    { path: 'd/', kind: 'directory', mode: 0o1777, mtime: 86_400 },
    { path: 'd/file', kind: 'file', mode: 0o4750, uid: 1000, gid: 65_534, data: Buffer.alloc(513, 1) },
    { path: 'd/hard', kind: 'hardlink', mode: 0o4750, target: 'd/file' },
    { path: 'd/soft', kind: 'symlink', mode: 0o777, target: '../x' },
  ]);
  assert.equal(bytes.length % 512, 0);
  const listing = execFileSync('tar', ['-t', '-v', '--numeric-owner', '--utc'], { input: bytes }).toString();
  assert.deepEqual(listing.trimEnd().replace(/ +/g, ' ').split('\n'), [
    'drwxrwxrwt 0/0 0 1970-01-02 00:00 d/',
    '-rwsr-x--- 1000/65534 513 1970-01-01 00:00 d/file',
    'hrwsr-x--- 0/0 0 1970-01-01 00:00 d/hard link to d/file',
    'lrwxrwxrwx 0/0 0 1970-01-01 00:00 d/soft -> ../x',
  ]);
});

test('ustar refuses a name that its header cannot hold', () => {
  const path = 'n'.repeat(101);
  assert.throws(() => ustar([{ path, kind: 'file', mode: 0o644 }]), RangeError);
  assert.throws(() => ustar([{ path: 'l', kind: 'symlink', mode: 0o777, target: path }]), RangeError);
});
