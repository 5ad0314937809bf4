import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Spill } from '../../src/image/spill.ts';
import { type Attributes, type NodeId, Tree } from '../../src/image/tree.ts';

const FILE: Attributes = { mode: 0o100644, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanos: 0 };
const DIRECTORY: Attributes = { ...FILE, mode: 0o040755 };

test('names that no file can have are refused', () => {
  const tree = new Tree();
  for (const name of ['', '.', '..', 'a/b', 'a\0b', 'x'.repeat(256), 'Ā'])
    assert.throws(() => tree.add(0, name, FILE), { code: 'invalid-argument' }, JSON.stringify(name));
  tree.add(0, 'x'.repeat(255), FILE);
  tree.add(0, '\xff\x01 \n', FILE);
  assert.throws(() => tree.add(0, '\xff\x01 \n', FILE), { code: 'already-exists' });
});

test('what is no tree is refused: files with children, links to directories, changed types', () => {
  const tree = new Tree();
  const file = tree.add(0, 'file', FILE);
  const directory = tree.add(0, 'directory', DIRECTORY);
  assert.throws(() => tree.add(file, 'child', FILE), { code: 'failed-precondition' });
  assert.throws(() => tree.link(0, 'loop', directory), { code: 'invalid-argument' });
  assert.throws(() => tree.setAttributes(file, DIRECTORY), { code: 'invalid-argument' });
  assert.throws(() => tree.add(0, 'x', { ...FILE, mode: 0o644 }), { code: 'invalid-argument' });
  assert.throws(() => tree.add(0, 'x', { ...FILE, mode: 0o120777 }), { code: 'invalid-argument' });
  assert.throws(() => tree.add(0, 'x', { ...FILE, mode: 0o120777, target: 'y'.repeat(4096) }), {
    code: 'invalid-argument',
  });
  assert.throws(() => tree.add(0, 'x', { ...FILE, mode: 0o20000, rdevMajor: 4096 }), {
    code: 'invalid-argument',
  });
  for (const broken of [
    { uid: -1 },
    { gid: 2 ** 32 },
    { uid: 0.5 },
    { mtimeNanos: 1e9 },
    { mtimeSeconds: Number.NaN },
  ])
    assert.throws(() => tree.add(0, 'x', { ...FILE, ...broken }), { code: 'invalid-argument' });
  const xattrs = new Map([['user.x', new Uint8Array(65_537)]]);
  assert.throws(() => tree.add(0, 'x', { ...FILE, xattrs }), { code: 'invalid-argument' });
  for (let i = 1; i < 65_000; i++) tree.link(0, `l${i}`, file);
  assert.throws(() => tree.link(0, 'one-too-many', file), { code: 'resource-exhausted' });
});

test('attributes come back, from memory and from the spill alike', () => {
  const all: Attributes[] = [
    { ...FILE, mode: 0o107777, uid: 4_294_967_295, gid: 65_536, mtimeSeconds: -5, mtimeNanos: 999_999_999 },
    { ...FILE, mode: 0o120777, target: '../\xe9/x' },
    { ...FILE, mode: 0o060600, rdevMajor: 4095, rdevMinor: 1_048_575 },
    {
      ...FILE,
      xattrs: new Map([
        ['user.b', Buffer.from('2')],
        ['user.a', Buffer.alloc(0)],
      ]),
    },
  ];
  for (const tree of [new Tree(), new Tree(new Spill('/nonexistent', 1 << 20))]) {
    const nodes = all.map((a, i) => tree.add(0, `n${i}`, a));
    all.forEach((a, i) => {
      const back = tree.attributes(nodes[i] as NodeId);
      assert.deepEqual({ ...back, xattrs: undefined }, { ...a, xattrs: undefined });
      assert.deepEqual(
        [...(back.xattrs ?? [])].map(([name, value]) => [name, Buffer.from(value).toString('hex')]).sort(),
        [...(a.xattrs ?? [])].map(([name, value]) => [name, Buffer.from(value).toString('hex')]).sort(),
      );
    });
  }
  const tree = new Tree();
  const far = tree.add(0, 'far', { ...FILE, mtimeSeconds: 1e15 });
  assert.equal(tree.attributes(far).mtimeSeconds, 2 ** 34 - 2 ** 31 - 1);
});

test('removing a tree of any depth releases each node once, and what has another name stays', () => {
  const tree = new Tree();
  const released: NodeId[] = [];
  tree.onRelease = (node) => released.push(node);
  let parent = tree.add(0, 'top', DIRECTORY);
  const nodes = [parent];
  for (let depth = 0; depth < 20_000; depth++) {
    parent = tree.add(parent, 'd', DIRECTORY);
    nodes.push(parent);
  }
  const file = tree.add(parent, 'file', FILE);
  tree.link(0, 'kept', file);
  assert.equal(tree.remove(0, 'top'), true);
  assert.deepEqual(
    released.sort((a, b) => a - b),
    nodes,
  );
  assert.equal(tree.links(file), 1);
  assert.equal(tree.remove(0, 'kept'), true);
  assert.equal(released.length, nodes.length + 1);
  assert.equal(tree.remove(0, 'kept'), false);
  assert.equal(tree.nodeCount, 1);
});

test('the tree agrees with a map of maps, whatever is done to it', () => {
  const name = fc.constantFrom(
    'a',
    'b',
    'ab',
    '\xff',
    'a.',
    'Z',
    ...Array.from({ length: 20 }, (_, i) => `n${i}`),
  );
  const step = fc.record({
    name,
    at: fc.nat(5),
    does: fc.constantFrom('add', 'add', 'add', 'mkdir', 'remove'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const tree = new Tree();
      const model = new Map<NodeId, Map<string, NodeId>>([[0, new Map()]]);
      for (const { name, at, does } of steps) {
        const directories = [...model.keys()];
        const parent = directories[at % directories.length] as NodeId;
        const names = model.get(parent) as Map<string, NodeId>;
        assert.equal(tree.lookup(parent, name), names.get(name));
        if (does === 'remove') {
          assert.equal(tree.remove(parent, name), names.has(name));
          const gone = [names.get(name)];
          for (let node = gone.pop(); node !== undefined; node = gone.pop()) {
            gone.push(...(model.get(node)?.values() ?? []));
            model.delete(node);
          }
          names.delete(name);
        } else if (!names.has(name)) {
          const node = tree.add(parent, name, does === 'add' ? FILE : DIRECTORY);
          names.set(name, node);
          if (does === 'mkdir') model.set(node, new Map());
        }
      }
      for (const [node, names] of model) {
        const sorted = [...names]
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, node]) => ({ name, node }));
        assert.deepEqual([...tree.children(node)], sorted);
      }
    }),
  );
});
