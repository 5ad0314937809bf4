/**
 * Protocol buffers (proto3) by one table interpreter: a message is a table of fields, and the
 * table gives the TypeScript type. Runs in the shim and in the guest agent, so it uses nothing
 * but base objects and typed arrays, and stays small.
 *
 * Left out, since no message of ours has them: groups, floating point, fixed-width and zigzag
 * integers, oneof and optional scalars. `map` fields are lists of their entries.
 */
import { ByteReader, ByteWriter, halvesI64, halvesU64 } from '../base/cursor.ts';
import { describe, SquibError } from '../base/errors.ts';
import { utf8Decode, utf8Encode } from '../base/utf8.ts';

/** What `encode` takes for a T: any part of it, with bigints where a number is not exact. */
export type Init<T> = T extends Uint8Array
  ? Uint8Array
  : T extends readonly (infer Item)[]
    ? readonly Init<Item>[]
    : T extends number
      ? number | bigint
      : T extends string | boolean | undefined
        ? T
        : { readonly [K in keyof T]?: Init<T[K]> | undefined };

/** Bytes to values and back for one message type. */
export interface Codec<T> {
  /** Full name with the package, as type URLs have it. */
  readonly name: string;
  /**
   * Absent fields are left out, as are those with the default value.
   * @throws SquibError invalid-argument naming the field whose value does not fit its type.
   */
  encode(value: Init<T>): Uint8Array;
  /**
   * Absent fields get the default: '' 0 false, no bytes, an empty list; an absent message is
   * undefined. Unknown fields are skipped. `bytes` fields are views of the input, not copies.
   * 64-bit values beyond 2^53 come as the nearest number (2^64-1 as 2^64, and back).
   * @throws SquibError invalid-argument if the bytes are not a message of this type.
   */
  decode(bytes: Uint8Array): T;
  /** For nesting, and for tests. */
  readonly table: Table;
}

/** The decoded type of a codec. */
export type MessageOf<C> = C extends Codec<infer T> ? T : never;

type Kind = 'string' | 'bytes' | 'bool' | 'u32' | 'i32' | 'u64' | 'i64' | 'message';

/** One row of a message's table; `T` is the type that decoding gives. */
export interface Field<T> {
  readonly number: number;
  readonly kind: Kind;
  readonly list: boolean;
  readonly nested: Codec<unknown> | undefined;
  /** Never there; carries T for the type checker. */
  readonly type?: T;
}

/** A message's table: names as in the .proto file, in camelCase. */
export type Fields = Readonly<Record<string, Field<unknown>>>;

/** What the interpreter works from. */
export interface Table {
  readonly fields: Fields;
  readonly byNumber: ReadonlyMap<number, string>;
}

type Decoded<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };
type Values = Record<string, unknown>;

function field<T>(number: number, kind: Kind, nested?: Codec<unknown>): Field<T> {
  return { number, kind, list: false, nested };
}

export const string = (number: number): Field<string> => field(number, 'string');
export const bytes = (number: number): Field<Uint8Array> => field(number, 'bytes');
export const bool = (number: number): Field<boolean> => field(number, 'bool');
export const u32 = (number: number): Field<number> => field(number, 'u32');
/** Also for enums, which are open: unknown numbers come through. */
export const i32 = (number: number): Field<number> => field(number, 'i32');
export const u64 = (number: number): Field<number> => field(number, 'u64');
export const i64 = (number: number): Field<number> => field(number, 'i64');
export const sub = <T>(number: number, nested: Codec<T>): Field<T | undefined> =>
  field(number, 'message', nested as Codec<unknown>);

/** `repeated`: scalars are written packed and read either way. */
export function list<T>(item: Field<T>): Field<readonly Exclude<T, undefined>[]> {
  return { number: item.number, kind: item.kind, list: true, nested: item.nested };
}

/** The codec of a message from its table. */
export function message<F extends Fields>(name: string, fields: F): Codec<Decoded<F>> {
  const byNumber = new Map<number, string>();
  for (const key in fields) byNumber.set((fields[key] as Field<unknown>).number, key);
  const table: Table = { fields, byNumber };
  const codec: Codec<unknown> = {
    name,
    table,
    encode: (value) => {
      const out = new ByteWriter();
      writeMessage(out, name, table, value as Values);
      return out.finish();
    },
    decode: (input) => {
      try {
        return readMessage(input, table, undefined, { items: MESSAGE_ITEMS_MAX });
      } catch (thrown) {
        throw new SquibError('invalid-argument', `${input.length} bytes are no ${name}: ${describe(thrown)}`);
      }
    },
  };
  return codec as Codec<Decoded<F>>;
}

const WIRE_VARINT = 0;
const WIRE_LENGTH = 2;

const isVarint = (kind: Kind): boolean => kind !== 'string' && kind !== 'bytes' && kind !== 'message';

function tableOf(row: Field<unknown>): Table {
  return (row.nested as Codec<unknown>).table;
}

function writeMessage(out: ByteWriter, name: string, table: Table, values: Values): void {
  for (const key in table.fields) {
    const row = table.fields[key] as Field<unknown>;
    const value = values[key];
    if (value === undefined) continue;
    try {
      if (row.list) writeList(out, row, value as readonly unknown[]);
      else if (row.kind === 'message' || !isDefault(value)) writeTagged(out, row, value);
    } catch (thrown) {
      throw new SquibError('invalid-argument', `${name}.${key}: ${describe(thrown)}`);
    }
  }
}

/** The values that are not written. null and NaN are none: they are refused, not dropped. */
function isDefault(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return !value && value !== null && !Number.isNaN(value);
}

function writeList(out: ByteWriter, row: Field<unknown>, items: readonly unknown[]): void {
  if (!isVarint(row.kind)) {
    for (const item of items) writeTagged(out, row, item);
    return;
  }
  if (items.length === 0) return;
  const packed = new ByteWriter();
  for (const item of items) writeVarint(packed, row.kind, item);
  writeTag(out, row, WIRE_LENGTH);
  writeSized(out, packed.finish());
}

function writeTagged(out: ByteWriter, row: Field<unknown>, value: unknown): void {
  if (isVarint(row.kind)) {
    writeTag(out, row, WIRE_VARINT);
    writeVarint(out, row.kind, value);
    return;
  }
  writeTag(out, row, WIRE_LENGTH);
  if (row.kind === 'message') {
    const inner = new ByteWriter();
    writeMessage(inner, row.nested?.name ?? '', tableOf(row), checked(value, 'object') as Values);
    writeSized(out, inner.finish());
  } else if (row.kind === 'string') writeSized(out, utf8Encode(checked(value, 'string') as string));
  else if (value instanceof Uint8Array) writeSized(out, value);
  else throw new SquibError('invalid-argument', `${typeof value} given, Uint8Array expected`);
}

function writeTag(out: ByteWriter, row: Field<unknown>, wire: number): void {
  out.varint((row.number << 3) | wire);
}

function writeSized(out: ByteWriter, content: Uint8Array): void {
  out.varint(content.length);
  out.raw(content);
}

function writeVarint(out: ByteWriter, kind: Kind, value: unknown): void {
  if (kind === 'bool') {
    out.u8(checked(value, 'boolean') ? 1 : 0);
    return;
  }
  const given = typeof value === 'bigint' ? value : (checked(value, 'number') as number);
  const signed = kind === 'i32' || kind === 'i64';
  const { low, high } = signed ? halvesI64(given) : halvesU64(given);
  if (kind === 'u32' && high !== 0) throw new SquibError('invalid-argument', `${given} is beyond 32 bits`);
  if (kind === 'i32' && high !== (low >> 31) >>> 0)
    throw new SquibError('invalid-argument', `${given} is beyond 32 bits`);
  out.varint(low, high);
}

function checked(value: unknown, type: 'string' | 'boolean' | 'number' | 'object'): unknown {
  if (typeof value === type && value !== null) return value;
  throw new SquibError(
    'invalid-argument',
    `${value === null ? 'null' : typeof value} given, ${type} expected`,
  );
}

function defaults(table: Table): Values {
  const values: Values = {};
  for (const key in table.fields) values[key] = defaultOf(table.fields[key] as Field<unknown>);
  return values;
}

function defaultOf(row: Field<unknown>): unknown {
  if (row.list) return [];
  if (row.kind === 'string') return '';
  if (row.kind === 'bytes') return new Uint8Array(0);
  if (row.kind === 'bool') return false;
  return row.kind === 'message' ? undefined : 0;
}

/**
 * Two bytes of input are enough for a list item that takes a hundred in memory. This many items,
 * in all lists of one message together, are more than any honest peer sends (it is every process
 * of a container with two thousand threads, thirty times over) and still only some megabytes.
 */
export const MESSAGE_ITEMS_MAX = 65_536;

/** What one `decode` may still allocate. */
interface Budget {
  items: number;
}

/**
 * Tables cannot nest in themselves, so their depth bounds the recursion whatever the input says.
 * A message that comes in several parts is merged, as proto3 has it: `into` is the part so far.
 */
function readMessage(input: Uint8Array, table: Table, into: Values | undefined, budget: Budget): Values {
  const values = into ?? defaults(table);
  const reader = new ByteReader(input);
  while (reader.left > 0) {
    const tag = reader.varint();
    if (tag > 0xffff_ffff || tag < 8) throw new SquibError('data-loss', `${tag} is no field tag`);
    const wire = tag & 7;
    const key = table.byNumber.get(tag >>> 3);
    const row = key === undefined ? undefined : table.fields[key];
    if (key === undefined || row === undefined || !fits(row, wire)) reader.skipField(wire);
    else if (row.list) readItems(reader, row, wire, values[key] as unknown[], budget);
    else values[key] = readValue(reader, row, values[key] as Values | undefined, budget);
  }
  return values;
}

/** A known field with another wire type counts as unknown; a list of scalars has two. */
function fits(row: Field<unknown>, wire: number): boolean {
  return isVarint(row.kind)
    ? wire === WIRE_VARINT || (row.list && wire === WIRE_LENGTH)
    : wire === WIRE_LENGTH;
}

function readItems(
  reader: ByteReader,
  row: Field<unknown>,
  wire: number,
  items: unknown[],
  budget: Budget,
): void {
  const packed = isVarint(row.kind) && wire === WIRE_LENGTH;
  const from = packed ? new ByteReader(reader.view(reader.varint())) : reader;
  do {
    if (packed && from.left === 0) return;
    if (budget.items-- === 0)
      throw new SquibError('resource-exhausted', `more than ${MESSAGE_ITEMS_MAX} list items`);
    items.push(readValue(from, row, undefined, budget));
  } while (packed);
}

function readValue(
  reader: ByteReader,
  row: Field<unknown>,
  before: Values | undefined,
  budget: Budget,
): unknown {
  if (isVarint(row.kind)) return readVarint(reader, row.kind);
  const content = reader.view(reader.varint());
  if (row.kind === 'string') return utf8Decode(content);
  return row.kind === 'bytes' ? content : readMessage(content, tableOf(row), before, budget);
}

function readVarint(reader: ByteReader, kind: Kind): number | boolean {
  const value = reader.varint();
  if (kind === 'u64') return value;
  if (kind === 'u32') return reader.low;
  if (kind === 'i32') return reader.low | 0;
  if (kind === 'bool') return value !== 0;
  return (reader.high | 0) * 0x1_0000_0000 + reader.low;
}
