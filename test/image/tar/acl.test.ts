import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aclFromText, aclMode } from '../../../src/image/tar/acl.ts';
import { archive } from './archive.ts';
import { scan } from './collector.ts';

const hex = (text: string) => Buffer.from(aclFromText(text)).toString('hex');

test('the text of an ACL in the form of the kernel, sorted', () => {
  const bytes =
    '02000000' +
    '01000600ffffffff' +
    '02000400e8030000' +
    '04000400ffffffff' +
    '0800050004000000' +
    '10000700ffffffff' +
    '20000400ffffffff';
  assert.equal(hex('user::rw-\nuser:1000:r--\ngroup::r--\ngroup:4:r-x\nmask::rwx\nother::r--\n'), bytes);
  assert.equal(hex('o::r--,m:rwx,g:adm:r-x:4,g::r--,u:someone:r--:1000,u::rw-'), bytes);
  assert.equal(hex('user:root:rwx'), '0200000002000700' + '00000000');
});

test('what is no ACL is refused, and a name of which nobody knows the number', () => {
  for (const text of ['user', 'user::rwz', 'nobody::rwx', 'mask:5:rwx', 'user:4294967295:rwx', 'user:'])
    assert.throws(() => aclFromText(text), { code: 'invalid-argument' }, text);
  assert.throws(() => aclFromText('user:lisa:rwx'), {
    code: 'failed-precondition',
    message: /"user:lisa:rwx".*--numeric-owner/,
  });
  assert.throws(() => aclFromText('user:1:rwx,'.repeat(2000)), { code: 'resource-exhausted' });
});

test('in an archive the binary form wins, and both ACLs come over', () => {
  const [entry] = scan(
    archive({
      type: '5',
      pax: {
        'SCHILY.acl.access': 'user:lisa:rwx',
        'SCHILY.xattr.system.posix_acl_access': 'binary',
        'SCHILY.acl.default': 'user::rwx',
      },
    }),
  );
  assert.equal(Buffer.from(entry?.xattrs?.get('system.posix_acl_access') ?? []).toString(), 'binary');
  assert.equal(entry?.xattrs?.get('system.posix_acl_default')?.length, 12);
});

test('an access ACL sets the mode as extracting it would, and stays if it says more', () => {
  const of = (text: string) => {
    const [entry] = scan(archive({ mode: 0o4600, pax: { 'SCHILY.acl.access': text } }));
    return [entry?.mode.toString(8), entry?.xattrs?.size];
  };
  assert.deepEqual(of('user::rwx,group::r-x,other::r--'), ['4754', 0]);
  assert.deepEqual(of('user::rwx,group::r--,user:5:r--,mask::rw-,other::---'), ['4760', 1]);
  assert.equal(aclMode(new Uint8Array(7)), undefined);
  assert.equal(aclMode(new Uint8Array(28)), undefined);
  assert.equal(aclMode(aclFromText('user::rwx')), undefined);
});
