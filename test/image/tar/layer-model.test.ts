import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Member } from './archive.ts';
import { apply } from './layers.ts';

/** What OCI says a sequence of layers gives, put as sets of paths instead of as changes to a tree. */
type Paths = ReadonlyMap<string, string>;

const DIRECTORY = '/';

const ancestors = (path: string): string[] => {
  const parts = path.split('/');
  return parts.slice(1).map((_, i) => parts.slice(0, i + 1).join('/'));
};

interface Op {
  readonly kind: 'file' | 'directory' | 'whiteout' | 'opaque';
  readonly path: string;
}

class Layer {
  readonly members: Member[] = [];
  readonly #below: Paths;
  readonly #own = new Map<string, string>();
  /** Paths of which nothing below shows; directories whose content below does not. */
  readonly #hidden = new Set<string>();
  readonly #opaque = new Set<string>();
  readonly #number: number;

  constructor(below: Paths, number: number) {
    this.#below = below;
    this.#number = number;
  }

  /** Both merged. */
  get visible(): Paths {
    const seen = new Map(this.#own);
    for (const [path, what] of this.#below) {
      const above = ancestors(path);
      const covered =
        this.#own.has(path) ||
        [...above, path].some((p) => this.#hidden.has(p)) ||
        above.some((p) => this.#opaque.has(p) || (this.#own.has(p) && this.#own.get(p) !== DIRECTORY));
      if (!covered) seen.set(path, what);
    }
    return seen;
  }

  /** Notes an operation, unless it needs a directory where a file is. */
  add({ kind, path }: Op): void {
    const { visible } = this;
    const blocked = (p: string) => visible.has(p) && visible.get(p) !== DIRECTORY;
    const parts = path.split('/');
    const name = parts.pop() as string;
    if (kind === 'whiteout') {
      this.members.push({ name: [...parts, `.wh.${name}`].join('/') });
      this.#hidden.add(path);
      return;
    }
    if (ancestors(path).some(blocked) || (kind === 'opaque' && blocked(path))) return;
    for (const p of ancestors(path)) this.#own.set(p, DIRECTORY);
    if (kind === 'opaque') {
      this.members.push({ name: `${path}/.wh..wh..opq` });
      this.#own.set(path, DIRECTORY);
      this.#opaque.add(path);
      return;
    }
    if (kind === 'directory') {
      this.members.push({ name: `${path}/`, type: '5' });
      this.#own.set(path, DIRECTORY);
      return;
    }
    const data = `${this.#number}.${this.members.length}`;
    this.members.push({ name: path, data });
    for (const p of this.#own.keys()) if (p.startsWith(`${path}/`)) this.#own.delete(p);
    this.#own.set(path, `=${data}`);
    this.#hidden.add(path);
  }
}

const PATH = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join('/'));
const OP = fc.record<Op>({
  kind: fc.constantFrom('file', 'file', 'file', 'directory', 'whiteout', 'opaque'),
  path: PATH,
});

test('property: layers give what sets of paths give', () => {
  fc.assert(
    fc.property(fc.array(fc.array(OP, { maxLength: 8 }), { minLength: 1, maxLength: 4 }), (plan) => {
      let below: Paths = new Map();
      const layers: Member[][] = [];
      for (const [number, ops] of plan.entries()) {
        const layer = new Layer(below, number);
        for (const op of ops) layer.add(op);
        layers.push(layer.members);
        below = layer.visible;
      }
      const expected = [...below].map(([path, what]) => path + what).sort();
      assert.deepEqual(
        apply(layers).lines,
        expected,
        layers.map((l) => l.map((m) => m.name).join(' ')).join(' | '),
      );
    }),
    { numRuns: 3000 },
  );
});

test('property: paths of any bytes, symlinks and links end in a tree or in a SquibError', () => {
  const part = fc.constantFrom('..', '.', '', 'a', 'b', 'c', '.wh.a', '.wh..wh..opq', '.wh.', '\xff');
  const path = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/'));
  const anything = fc.record({ name: path, type: fc.constantFrom('0', '1', '2', '5', '6'), link: path });
  let trees = 0;
  fc.assert(
    fc.property(
      fc.array(anything, { maxLength: 12 }),
      fc.array(anything, { maxLength: 6 }),
      (first, second) => {
        // Empty names have tests of their own and would end most of these runs early.
        const usable = (m: { name: string; link: string }) =>
          m.name !== '' && m.link !== '' && !m.name.includes('..');
        try {
          const { tree, lines } = apply([first.filter(usable), second.filter(usable)]);
          trees++;
          assert.equal(tree.nodeCount <= lines.length + 1, true);
          assert.ok(lines.every((line) => !line.split(/[= ]/)[0]?.split('/').includes('..')));
        } catch (error) {
          assert.match(String(error), /^SquibError: tar entry/);
        }
      },
    ),
    { numRuns: 3000 },
  );
  assert.ok(trees > 100, `${trees} of the runs gave a tree`);
});
