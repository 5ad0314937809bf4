import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type ExportStats, exportTar } from '../../../src/image/export/export-tar.ts';
import { Ext4Reader } from '../../../src/image/ext4/reader.ts';
import { makeSampleTree, mke2fs } from '../ext4/sample-tree.ts';

let dir: string;
let image: string;

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'squib-export-'));
  image = join(dir, 'image.ext4');
  mkdirSync(join(dir, 'scratch/upper'), { recursive: true });
  makeSampleTree(join(dir, 'scratch/upper'));
  mke2fs(join(dir, 'scratch'), image);
});
after(() => rmSync(dir, { recursive: true }));

/** Exports to a file. */
function exported(start: string, isLayer: boolean): { path: string; stats: ExportStats } {
  using reader = Ext4Reader.open(image);
  const path = join(dir, 'out.tar');
  const parts: Uint8Array[] = [];
  const stats = exportTar(reader, { start, isLayer, write: (bytes) => parts.push(bytes.slice()) });
  writeFileSync(path, Buffer.concat(parts));
  assert.equal(statSync(path).size, stats.bytes);
  return { path, stats };
}

/** Python's reader of tars: one JSON line per member, raw bytes as latin1. */
function members(path: string): { name: string; type: string; link: string; size: number; pax: string[] }[] {
  const script = `
import json, sys, tarfile
t = tarfile.open(sys.argv[1], encoding='latin1')
print(json.dumps([dict(name=m.name, type=m.type.decode(), link=m.linkname, size=m.size, pax=sorted(m.pax_headers)) for m in t]))`;
  return JSON.parse(execFileSync('python3', ['-c', script, path], { encoding: 'utf8', maxBuffer: 1 << 26 }));
}

test('GNU tar unpacks what was in the tree, with times, links, attributes and holes', () => {
  const { path } = exported('upper', false);
  const out = join(dir, 'unpacked');
  mkdirSync(out);
  execFileSync('tar', ['-xpf', path, '-C', out, '--xattrs', '--xattrs-include=*', '--acls'], {
    stdio: 'pipe',
  });
  // diff does not compare devices and pipes.
  for (const name of ['gone', 'pipe', 'etc/deep/gone-too']) {
    const [a, b] = [statSync(join(dir, 'scratch/upper', name)), statSync(join(out, name))];
    assert.deepEqual([b.mode, b.rdev], [a.mode, a.rdev], name);
  }
  const excluded = ['gone', 'pipe', 'gone-too'].map((name) => `--exclude=${name}`);
  execFileSync('diff', ['-r', '--no-dereference', ...excluded, join(dir, 'scratch/upper'), out]);
  const motd = statSync(join(out, 'etc/motd'), { bigint: true });
  assert.equal(motd.ino, statSync(join(out, 'etc/linked'), { bigint: true }).ino);
  assert.equal(statSync(join(out, 'old')).mtimeMs, -5000);
  assert.equal(statSync(join(out, 'sparse')).size, 64 << 20);
  assert.ok(statSync(join(out, 'sparse')).blocks * 512 < 1 << 20, 'holes stay holes');
  const listed = execFileSync('python3', [
    '-c',
    'import os,sys; print(os.getxattr(sys.argv[1], "user.note"))',
    join(out, 'etc/motd'),
  ]);
  assert.equal(listed.toString().trim(), `b'v\\x00\\xff'`);
});

test('a layer has whiteouts and opaque marks by name, and nothing of overlayfs', () => {
  const { path } = exported('upper', true);
  const all = members(path);
  const names = all.map((member) => member.name);
  assert.ok(names.includes('.wh.gone') && names.includes('etc/deep/.wh.gone-too'));
  assert.ok(
    !names.includes('gone') && !names.includes('.') && !names.some((name) => name.startsWith('upper')),
  );
  assert.equal(names.indexOf('opaque/.wh..wh..opq'), names.indexOf('opaque') + 1, 'the mark comes first');
  assert.ok(names.includes('etc/raw-\xff\n\xc3'));
  const pax = new Set(all.flatMap((member) => member.pax));
  assert.ok(pax.has('SCHILY.xattr.user.note'));
  assert.ok(![...pax].some((key) => key.includes('overlay')), [...pax].join(' '));
  const [linked] = all.filter((member) => member.type === '1');
  assert.ok(linked && /^etc\/(motd|linked)$/.test(linked.name) && /^etc\/(motd|linked)$/.test(linked.link));
});

test('the same image gives the same bytes', () => {
  const first = readFileSync(exported('upper', true).path);
  assert.ok(first.equals(readFileSync(exported('upper', true).path)));
});

test('a start that is no directory is refused', () => {
  assert.throws(() => exported('upper/big', false), { code: 'invalid-argument' });
  assert.throws(() => exported('none', false), { code: 'not-found' });
});
