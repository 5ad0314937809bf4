import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { type TarEntry, tarHeader } from '../../../src/image/export/tar-header.ts';

const PLAIN: TarEntry = {
  path: 'a',
  type: 'file',
  permissions: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtimeSeconds: 1,
  mtimeNanos: 0,
};

/** What Python's tarfile reads from the header of an empty entry. */
function read(entry: Partial<TarEntry>) {
  const bytes = Buffer.concat([tarHeader({ ...PLAIN, ...entry }), Buffer.alloc(1024)]);
  const script = `
import io, json, sys, tarfile
m = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), encoding='latin1').next()
fields = dict(name=m.name, uid=m.uid, gid=m.gid, size=m.size, mtime=m.mtime, link=m.linkname, mode=m.mode)
print(json.dumps(dict(fields, major=m.devmajor, minor=m.devminor, pax=m.pax_headers)))`;
  return JSON.parse(execFileSync('python3', ['-c', script], { input: bytes, encoding: 'utf8' }));
}

test('a plain entry is one block', () => {
  assert.equal(tarHeader(PLAIN).length, 512);
  assert.deepEqual(read({}).pax, {});
});

test('what ustar has no room for comes through pax', () => {
  const long = `${'d'.repeat(90)}/${'n'.repeat(255)}`;
  assert.equal(read({ path: long }).name, long);
  assert.equal(read({ type: 'symlink', linkPath: long }).link, long);
  const big = read({ uid: 4_000_000_000, gid: 2_097_152, mtimeSeconds: -2, mtimeNanos: 500_000_000 });
  assert.deepEqual([big.uid, big.gid, big.mtime], [4_000_000_000, 2_097_152, -1.5]);
  assert.equal(read({ mtimeSeconds: -5 }).mtime, -5);
  assert.equal(read({ mtimeSeconds: 2 ** 33, mtimeNanos: 1 }).pax.mtime, '8589934592.000000001');
  assert.equal(read({ mtimeSeconds: -1, mtimeNanos: 999_999_999 }).pax.mtime, '-0.000000001');
  assert.equal(read({ size: 2 ** 40 }).size, 2 ** 40);
  const device = read({ type: 'block', rdevMajor: 4095, rdevMinor: 1_048_575 });
  assert.deepEqual([device.major, device.minor], [4095, 1_048_575]);
});

test('a record counts its own length, at every number of digits', () => {
  for (const length of [
    0, 1, 60, 79, 80, 81, 82, 83, 84, 970, 978, 979, 980, 981, 982, 9970, 9977, 9978, 9979, 9980,
  ]) {
    const value = 'v'.repeat(length);
    const { pax } = read({ xattrs: new Map([['user.n', Buffer.from(value)]]) });
    assert.equal(pax['SCHILY.xattr.user.n'], value, `${length}`);
  }
});

test('attributes that no record can hold are refused with the path', () => {
  const xattrs = (name: string, bytes: number) => ({ xattrs: new Map([[name, new Uint8Array(bytes)]]) });
  assert.throws(() => tarHeader({ ...PLAIN, ...xattrs('user.a=b', 1) }), {
    code: 'unimplemented',
    message: /"a"/,
  });
  assert.throws(() => tarHeader({ ...PLAIN, ...xattrs('user.a', 2 << 20) }), { code: 'unimplemented' });
});
