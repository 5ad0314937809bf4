/**
 * The codecs' oracle: messages described by .proto files through protoc, encoded and decoded by
 * @bufbuild/protobuf, which shares no code with ours.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  create,
  createFileRegistry,
  type DescField,
  type DescMessage,
  equals,
  type FileRegistry,
  fromBinary,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import type { Codec, Field, Init } from '../../src/proto/codec.ts';

const ROOT = join(import.meta.dirname, '../..');
const PUBLISHED = join(ROOT, 'build/containerd-protos');
const GOGO = join(PUBLISHED, 'github.com/gogo/protobuf');
const CONTAINERD = 'github.com/containerd/containerd';

/** Each set is one protoc run: containerd 1.6's files import gogo.proto by two names. */
const SETS = {
  containerd: [
    `${CONTAINERD}/runtime/v2/task/shim.proto`,
    `${CONTAINERD}/api/events/task.proto`,
    `${CONTAINERD}/api/services/ttrpc/events/v1/events.proto`,
    'github.com/containerd/cgroups/stats/v1/metrics.proto',
    'github.com/containerd/cgroups/v2/stats/metrics.proto',
  ],
  agent: ['src/proto/agent.proto'],
  newer: ['bootstrap.proto', 'introspection.proto', 'runtimeoptions.proto', 'ttrpc.proto'],
} as const;

export type SetName = keyof typeof SETS;

/** Why the oracle cannot be asked here, for a test's `skip`; false if it can. */
export function missing(): string | false {
  if (!existsSync(join(PUBLISHED, '.done')))
    return 'no build/containerd-protos: run tools/setup, which fetches the published .proto files';
  try {
    execFileSync('protoc', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'no protoc: run tools/setup, which installs protobuf-compiler';
  }
  return false;
}

const registries = new Map<SetName, FileRegistry>();

function registry(set: SetName): FileRegistry {
  const known = registries.get(set);
  if (known !== undefined) return known;
  const dir = mkdtempSync(join(tmpdir(), 'squib-oracle-'));
  try {
    const out = join(dir, 'set.bin');
    const paths = [PUBLISHED, GOGO, join(GOGO, 'protobuf'), join(ROOT, 'test/vectors/proto'), ROOT];
    execFileSync(
      'protoc',
      [...paths.map((path) => `-I${path}`), '--include_imports', `--descriptor_set_out=${out}`, ...SETS[set]],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const made = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(out)));
    registries.set(set, made);
    return made;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** The oracle's description of a message. */
export function described(set: SetName, name: string): DescMessage {
  const desc = registry(set).getMessage(name);
  if (desc === undefined) throw new Error(`the .proto files of '${set}' have no message ${name}`);
  return desc;
}

/** The method names of a service with their message types, as the .proto has them. */
export function methodsOf(set: SetName, name: string): Record<string, { input: string; output: string }> {
  const service = registry(set).getService(name);
  if (service === undefined) throw new Error(`the .proto files of '${set}' have no service ${name}`);
  return Object.fromEntries(
    service.methods.map((m) => [m.name, { input: m.input.typeName, output: m.output.typeName }]),
  );
}

/** Names of all messages of a package. */
export function messagesOf(set: SetName, pkg: string): string[] {
  const names: string[] = [];
  for (const type of registry(set))
    if (type.kind === 'message' && type.file.proto.package === pkg) names.push(type.typeName);
  return names;
}

const KINDS: Partial<Record<ScalarType, string>> = {
  [ScalarType.STRING]: 'string',
  [ScalarType.BYTES]: 'bytes',
  [ScalarType.BOOL]: 'bool',
  [ScalarType.UINT32]: 'u32',
  [ScalarType.INT32]: 'i32',
  [ScalarType.UINT64]: 'u64',
  [ScalarType.INT64]: 'i64',
};

function kindOf(field: DescField): string {
  if (field.fieldKind === 'map') return 'message';
  const of = field.fieldKind === 'list' ? field.listKind : field.fieldKind;
  if (of === 'message') return 'message';
  if (of === 'enum') return 'i32';
  return KINDS[field.scalar as ScalarType] ?? `scalar ${field.scalar}`;
}

/** The table has the described fields, all of them, and no other; nested ones as well. */
export function sameTable(desc: DescMessage, codec: Codec<never>): void {
  const ours = Object.entries(codec.table.fields).map(([name, row]) => tell(name, row));
  const theirs = desc.fields.map(
    (field) =>
      `${field.localName} = ${field.number}: ${kindOf(field)}${field.fieldKind === 'list' || field.fieldKind === 'map' ? '[]' : ''}`,
  );
  deepEqual(ours.sort(), theirs.sort(), codec.name);
  for (const field of desc.fields)
    if (field.fieldKind !== 'map' && field.message !== undefined)
      sameTable(field.message, codec.table.fields[field.localName]?.nested as Codec<never>);
}

function tell(name: string, row: Field<unknown>): string {
  return `${name} = ${row.number}: ${row.kind}${row.list ? '[]' : ''}`;
}

type Values = Record<string, unknown>;

const U64 = fc.oneof(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.constant((1n << 64n) - 1n));
const I64 = fc.oneof(fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }), fc.constant(-1n));
const SCALARS: Record<string, fc.Arbitrary<unknown>> = {
  string: fc.string({ unit: 'binary', maxLength: 20 }),
  bytes: fc.uint8Array({ maxLength: 20 }),
  bool: fc.boolean(),
  u32: fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(0, 1, 0x7fff_ffff, 0xffff_ffff)),
  i32: fc.oneof(fc.integer(), fc.constantFrom(0, -1, -0x8000_0000, 0x7fff_ffff)),
  u64: U64,
  i64: I64,
};

/** Values of a described message in the oracle's own form (64-bit as bigint, maps as objects). */
export function valuesOf(desc: DescMessage): fc.Arbitrary<Values> {
  const record: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of desc.fields) record[field.localName] = fieldValues(field);
  return fc.record(record, { requiredKeys: [] });
}

function fieldValues(field: DescField): fc.Arbitrary<unknown> {
  if (field.fieldKind === 'map')
    return fc.dictionary(
      fc.string({ minLength: 1, maxLength: 5 }),
      SCALARS['string'] as fc.Arbitrary<unknown>,
      {
        maxKeys: 3,
        noNullPrototype: true,
      },
    );
  const one =
    field.message === undefined ? (SCALARS[kindOf(field)] as fc.Arbitrary<unknown>) : valuesOf(field.message);
  return field.fieldKind === 'list' ? fc.array(one, { maxLength: 3 }) : one;
}

/** The same values in our codec's form; exact: 64-bit values stay bigints, as `encode` takes them. */
function toOurs(desc: DescMessage, values: Values): Values {
  return mapFields(desc, values, (value) => value);
}

/** What our `decode` gives for them: numbers, and defaults for what is absent. */
function decoded(desc: DescMessage, values: Values): Values {
  const full = mapFields(desc, values, (value) => (typeof value === 'bigint' ? Number(value) : value), true);
  for (const field of desc.fields)
    if (full[field.localName] === undefined) full[field.localName] = defaultOf(field);
  return full;
}

function mapFields(
  desc: DescMessage,
  values: Values,
  scalar: (value: unknown) => unknown,
  full = false,
): Values {
  const out: Values = {};
  for (const field of desc.fields) {
    const value = values[field.localName];
    if (value === undefined) continue;
    const nested = field.fieldKind === 'map' ? undefined : field.message;
    const one = (item: unknown): unknown => {
      if (nested === undefined) return scalar(item);
      return full ? decoded(nested, item as Values) : toOurs(nested, item as Values);
    };
    if (field.fieldKind === 'map')
      out[field.localName] = Object.entries(value as Values).map(([key, text]) => ({ key, value: text }));
    else out[field.localName] = field.fieldKind === 'list' ? (value as unknown[]).map(one) : one(value);
  }
  return out;
}

function defaultOf(field: DescField): unknown {
  if (field.fieldKind === 'list' || field.fieldKind === 'map') return [];
  const defaults: Values = { string: '', bytes: new Uint8Array(0), bool: false, message: undefined };
  const kind = kindOf(field);
  return kind in defaults ? defaults[kind] : 0;
}

/** How many random values each message is tried with. */
const RUNS = 60;

/** Both libraries read what the other wrote, and both see the same in it. */
export function sameBytes(desc: DescMessage, codec: Codec<never>): void {
  const ours = codec as unknown as Codec<Values>;
  fc.assert(
    fc.property(valuesOf(desc), (values) => {
      const theirs = create(desc, values as Record<string, object>);
      deepEqual(ours.decode(toBinary(desc, theirs)), decoded(desc, values));
      const read = fromBinary(desc, ours.encode(toOurs(desc, values) as Init<Values>));
      equal(equals(desc, read, theirs), true, `${codec.name}: ${JSON.stringify(read, jsonBigint)}`);
    }),
    { numRuns: RUNS },
  );
}

function jsonBigint(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}n` : value;
}

/** The whole check of one codec against the message of its name, or of another name. */
export function agrees(set: SetName, codec: unknown, name?: string): void {
  const known = codec as Codec<never>;
  const desc = described(set, name ?? known.name);
  sameTable(desc, known);
  sameBytes(desc, known);
}

/** The codecs among a module's exports, by name. */
export function codecsOf(module: object): Map<string, Codec<never>> {
  const found = new Map<string, Codec<never>>();
  for (const value of Object.values(module))
    if (typeof value === 'object' && value !== null && 'table' in value && 'decode' in value)
      found.set((value as Codec<never>).name, value as Codec<never>);
  return found;
}
