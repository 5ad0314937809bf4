import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Member } from './archive.ts';
import { apply } from './layers.ts';

const d = (name: string, mode = 0o755): Member => ({ name, type: '5', mode });
const f = (name: string, data = name): Member => ({ name, data });
const l = (name: string, link: string): Member => ({ name, type: '1', link });
const s = (name: string, link: string): Member => ({ name, type: '2', link });
const gives = (layers: readonly (readonly Member[])[], lines: readonly string[], why?: string) =>
  assert.deepEqual({ why, lines: apply(layers).lines }, { why, lines });
const refuses = (layers: readonly (readonly Member[])[], message: RegExp, code?: string) =>
  assert.throws(() => apply(layers), code ? { message, code } : { message });

test('names: dots, slashes, absolute ones, missing parents', () => {
  gives(
    [[d('./'), f('./a'), f('/b/c'), f('.//x/./y//z'), d('e///')]],
    ['a=./a', 'b/', 'b/c=/b/c', 'e/', 'x/', 'x/y/', 'x/y/z=.//x/./y//z'],
  );
  const { tree } = apply([[f('made/x')]]);
  const made = tree.lookup(tree.root, 'made') ?? -1;
  assert.deepEqual(tree.attributes(made), { mode: 0o40755, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanos: 0 });
});

test("attributes come over, the root's too", () => {
  const own = { mode: 0o1700, uid: 70000, gid: 3, mtime: 9, pax: { 'SCHILY.xattr.user.a': 'v' } };
  for (const name of ['./', '/', '.', './.', 'x/']) {
    const { tree } = apply([[{ ...own, name, type: '5' }]]);
    const node = name === 'x/' ? (tree.lookup(tree.root, 'x') ?? -1) : tree.root;
    const { xattrs, ...rest } = tree.attributes(node);
    assert.deepEqual(rest, { mode: 0o41700, uid: 70000, gid: 3, mtimeSeconds: 9, mtimeNanos: 0 }, name);
    assert.equal(Buffer.from(xattrs?.get('user.a') ?? []).toString(), 'v');
  }
  const { tree } = apply([
    [
      { name: 'n', type: '3', major: 5, minor: 70000 },
      { name: 'p', type: '6' },
    ],
  ]);
  const { mode, rdevMajor, rdevMinor } = tree.attributes(tree.lookup(tree.root, 'n') ?? -1);
  assert.deepEqual([mode, rdevMajor, rdevMinor], [0o20644, 5, 70000]);
  refuses([[f('./')]], /regular|root|slash/);
  refuses([[s('.', 'x')]], /a symlink cannot be the root/);
});

test('".." is refused wherever it stands', () => {
  for (const name of ['..', '../x', 'a/../b', '/..', 'a/..', './../etc/passwd', 'a/../../b'])
    refuses(
      [[f(name)]],
      new RegExp(`^tar entry "${name.replaceAll('.', '\\.')}" at byte 0: path contains ".."`),
    );
  for (const target of ['..', '../x', 'a/../b'])
    refuses([[d('a'), f('b'), l('c', target)]], /contains "\.\."/);
});

test('parents through symlinks, inside the root whatever they say', () => {
  gives(
    [[d('usr/lib'), s('lib', 'usr/lib'), f('lib/x')]],
    ['lib -> usr/lib', 'usr/', 'usr/lib/', 'usr/lib/x=lib/x'],
  );
  gives(
    [[d('usr/lib'), s('lib', '/usr/lib'), f('lib/x')]],
    ['lib -> /usr/lib', 'usr/', 'usr/lib/', 'usr/lib/x=lib/x'],
  );
  gives(
    [[s('out', '../../../etc'), f('out/passwd')]],
    ['etc/', 'etc/passwd=out/passwd', 'out -> ../../../etc'],
  );
  gives([[d('a/b'), s('a/b/up', '../..'), f('a/b/up/x')]], ['a/', 'a/b/', 'a/b/up -> ../..', 'x=a/b/up/x']);
  gives([[s('a', 'b'), s('b', 'c/'), f('a/x')]], ['a -> b', 'b -> c/', 'c/', 'c/x=a/x']);
  gives(
    [[d('real'), s('to', 'real')], [f('to/x')]],
    ['real/', 'real/x=to/x', 'to -> real'],
    'to a layer below',
  );
  refuses([[s('a', 'b'), s('b', 'a'), f('a/x')]], /more than 40 symlinks/);
  refuses([[s('a', 'a/a'), f('a/x')]], /more than 40 symlinks/);
  refuses([[f('a'), f('a/b')]], /^tar entry "a\/b" at byte 1024: "a" on the way is not a directory/);
  refuses([[f('a'), s('b', 'a'), f('b/c')]], /"a" on the way is not a directory/);
});

test('the last name is never followed', () => {
  gives([[f('a'), s('b', 'a'), f('b')]], ['a=a', 'b=b']);
  gives([[d('a'), s('b', 'a'), d('b'), f('b/x')]], ['a/', 'b/', 'b/x=b/x'], 'found anew, not as remembered');
  gives([[d('a'), s('b', 'a'), f('b/1'), d('b'), f('b/2')]], ['a/', 'a/1=b/1', 'b/', 'b/2=b/2']);
});

test('a later entry replaces an earlier one, directories merge', () => {
  gives([[f('a', '1'), f('a', '2')]], ['a=2']);
  gives([[f('a', '1')], [f('a', '2')]], ['a=2']);
  gives([[d('a'), f('a/x')], [f('a', 'file')]], ['a=file']);
  gives([[f('a')], [d('a'), f('a/x')]], ['a/', 'a/x=a/x']);
  gives([[d('a/b/c'), f('a/b/x')], [s('a', 'z')]], ['a -> z']);
  const { tree, lines } = apply([[d('a', 0o755), f('a/x')], [d('a', 0o700)]]);
  assert.deepEqual(lines, ['a/', 'a/x=a/x']);
  assert.equal(tree.mode(tree.lookup(tree.root, 'a') ?? -1), 0o40700);
  assert.equal(
    apply([[f('a', '1'), f('a', '2'), f('a', '3')]]).content.size,
    1,
    'replaced content is released',
  );
});

test('hard links: to files, symlinks and devices, of this layer and below', () => {
  gives([[f('a'), l('b', 'a'), l('c', './b')]], ['a=a (3 links)', 'b=a (3 links)', 'c=a (3 links)']);
  gives([[f('a')], [l('b', '/a')]], ['a=a (2 links)', 'b=a (2 links)']);
  gives([[s('a', 'x'), l('b', 'a')]], ['a -> x', 'b -> x']);
  gives([[f('a'), l('b', 'a'), f('a', 'new')]], ['a=new', 'b=a'], 'the first name goes, the content stays');
  gives([[f('a'), l('a', 'a')]], ['a=a'], 'to itself');
  gives([[f('a'), l('b', 'a'), l('b', 'a')]], ['a=a (2 links)', 'b=a (2 links)'], 'twice');
  gives(
    [[d('x'), f('x/a'), s('y', 'x'), l('b', 'y/a')]],
    ['b=x/a (2 links)', 'x/', 'x/a=x/a (2 links)', 'y -> x'],
    'through a symlink',
  );
});

test('hard links to nowhere', () => {
  for (const target of ['b', 'x/y', '/', '.', 'a/b'])
    refuses(
      [[f('a'), l('c', target)]],
      /^tar entry "c" at byte 1024: hard link to ".*", which (does not exist|is a directory)/,
    );
  refuses([[d('a'), l('b', 'a')]], /hard link to "a", which is a directory/);
  refuses(
    [[f('a')], [{ name: '.wh.a' }, l('b', 'a')]],
    /hard link to "a", which does not exist/,
    'not-found',
  );
  refuses([[d('a'), f('a/b'), l('a', 'a/b')]], /replaces its own target/);
});

test('whiteouts take what is below, in whatever order', () => {
  const below = [d('a'), f('a/x'), f('a/y'), f('b')];
  gives([below, [{ name: '.wh.b' }]], ['a/', 'a/x=a/x', 'a/y=a/y']);
  gives([below, [{ name: 'a/.wh.x' }]], ['a/', 'a/y=a/y', 'b=b']);
  gives([below, [{ name: '.wh.a' }]], ['b=b']);
  gives([below, [{ name: '.wh.b' }, f('b', 'new')]], ['a/', 'a/x=a/x', 'a/y=a/y', 'b=new']);
  gives([below, [f('b', 'new'), { name: '.wh.b' }]], ['a/', 'a/x=a/x', 'a/y=a/y', 'b=new']);
  gives([below, [f('a/z', 'new'), { name: '.wh.a' }]], ['a/', 'a/z=new', 'b=b'], "this layer's part stays");
  gives([below, [{ name: '.wh.a' }, f('a/z', 'new')]], ['a/', 'a/z=new', 'b=b']);
  gives(
    [below, [{ name: '.wh.nothing' }, { name: 'no/where/.wh.x' }]],
    apply([below]).lines,
    'nothing to hide',
  );
  gives([below, [], [{ name: '.wh.b' }], [f('b', 'again')]], ['a/', 'a/x=a/x', 'a/y=a/y', 'b=again']);
  gives([[f('b'), { name: '.wh.b' }]], ['b=b'], 'nothing is below the first layer');
});

test('opaque directories', () => {
  const below = [d('a'), f('a/x'), d('a/sub'), f('a/sub/1'), f('a/sub/2')];
  const opaque = { name: 'a/.wh..wh..opq' };
  gives([below, [d('a'), opaque, f('a/n')]], ['a/', 'a/n=a/n']);
  gives([below, [d('a'), f('a/n'), opaque]], ['a/', 'a/n=a/n'], 'behind its siblings');
  gives([below, [f('a/sub/3'), opaque]], ['a/', 'a/sub/', 'a/sub/3=a/sub/3']);
  gives([below, [f('a/x', 'new'), opaque]], ['a/', 'a/x=new']);
  gives([below, [{ name: '.wh..wh..opq' }]], [], 'the root');
  gives([below, [opaque], [f('a/x', 'later')]], ['a/', 'a/x=later']);
  gives([[], [{ name: 'made/.wh..wh..opq' }]], ['made/']);
});

test('whiteouts and hard links', () => {
  gives([[f('a')], [l('b', 'a'), { name: '.wh.a' }]], ['b=a'], 'a rename, as differs write it');
  gives(
    [
      [d('x'), f('x/a')],
      [l('x/b', 'x/a'), { name: 'x/.wh..wh..opq' }],
    ],
    ['x/', 'x/b=x/a'],
  );
  gives([[f('a'), l('b', 'a')], [{ name: '.wh.b' }]], ['a=a']);
});

test("AUFS's own names, and whiteouts of nothing", () => {
  gives([[f('.wh..wh.aufs'), d('.wh..wh.plnk'), f('.wh..wh.plnk/1.2'), f('x')]], ['x=x']);
  for (const name of ['.wh.', '.wh..', '.wh...']) refuses([[f('a')], [f(name)]], /no name to hide/);
});

test('limits of names, paths and depth', () => {
  const at = (name: string): Member[] => [{ name: 'x', pax: { path: name } }];
  assert.equal(apply([at('n'.repeat(255))]).lines.length, 1);
  refuses([at('n'.repeat(256))], /name of 256 bytes/, 'invalid-argument');
  refuses([at(`${'n'.repeat(256)}/x`)], /name of 256 bytes/, 'invalid-argument');
  assert.equal(apply([at(`${'d/'.repeat(2047)}f`)]).lines.length, 2048);
  refuses([at(`${'d/'.repeat(2048)}f`)], /path of 4097 bytes, at most 4095/, 'invalid-argument');
  const deep = [
    ...at(`${'d/'.repeat(2000)}f`),
    { name: 's', type: '2', pax: { linkpath: 'd/'.repeat(2000) } },
    ...at(`s/${'e/'.repeat(100)}f`),
  ];
  refuses([deep], /more than 2048 directories deep/, 'resource-exhausted');
  refuses(
    [[{ name: 'x', type: '2', pax: { linkpath: 't'.repeat(4096) } }]],
    /4096 bytes/,
    'invalid-argument',
  );
  assert.throws(
    () => apply([[f('abc'), f('def')]], { nameBytes: 5 }),
    /^SquibError: tar entry "def" at byte 1024: more than 5 bytes of names/,
  );
  const xattrs = { pax: { 'SCHILY.xattr.user.big': 'x'.repeat(100) } };
  assert.throws(
    () => apply([[{ name: 'a', ...xattrs }]], { attributeBytes: 100 }),
    /more than 100 bytes of link/,
  );
});

test('depth counts directories, not the steps of a way', () => {
  const shallow = (members: readonly Member[]) => apply([members], { depth: 3 }).lines.length;
  assert.equal(shallow([d('a'), s('up', 'a/../a/../a/../a/..'), f('up/x/y/z/file')]), 6);
  assert.equal(shallow([d('a/b/c'), s('a/b/c/top', '/'), f('a/b/c/top/x/y/z/file')]), 8);
  assert.throws(() => shallow([f('a/b/c/d/file')]), { message: /more than 3 directories deep/ });
});

test('directories that only paths name count as entries', () => {
  const bomb = [f('a/b/c/d/e/f'), f('g/h/i/j/k/l')];
  assert.equal(apply([bomb], { entries: 12 }).lines.length, 12);
  assert.throws(() => apply([bomb], { entries: 11 }), {
    code: 'resource-exhausted',
    message:
      /^tar entry "g\/h\/i\/j\/k\/l" at byte 1024: more than 11 entries, 10 of them directories that only/,
  });
  const merged = { ...d('a'), pax: { 'SCHILY.xattr.user.x': 'v'.repeat(50) } };
  assert.throws(() => apply([[merged, merged]], { attributeBytes: 100 }), /more than 100 bytes of link/);
});

test('40 symlinks are a way, 41 a loop', () => {
  const chain = (count: number): Member[] => [
    d('s0'),
    ...Array.from({ length: count }, (_, i) => s(`s${i + 1}`, `s${i}`)),
    f(`s${count}/x`),
  ];
  assert.ok(apply([chain(40)]).lines.includes('s0/x=s40/x'));
  refuses([chain(41)], /more than 40 symlinks/);
});

test('a symlink that replaces itself through itself is forgotten', () => {
  refuses([[s('s', '.'), f('s/s'), f('s/x')]], /"s" on the way is not a directory/);
});
