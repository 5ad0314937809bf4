import { SquibError } from '../src/base/errors.ts';

/**
 * Checks a JSON value and returns it as T. `path` is where the value stands, as in
 * `process.rlimits[0].soft`; it is the start of the error message.
 * @throws SquibError `invalid-argument`.
 */
export type Shape<T> = (value: unknown, path: string) => T;

/** The TypeScript type that a shape yields. */
export type Shaped<S> = S extends Shape<infer T> ? T : never;

/** Nesting of one document; JSON.parse itself has no limit that we could rely on. */
const ENTRIES_MAX = 65_536;

export const text: Shape<string> = (value, path) => {
  if (typeof value !== 'string') throw wrong(path, 'a string', value);
  if (value.includes('\0')) throw wrong(path, 'a string without NUL', value);
  return value;
};

export const flag: Shape<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw wrong(path, 'true or false', value);
  return value;
};

/** An integer within [min, max]; integers that a double cannot hold are not accepted here. */
export function integer(min: number, max: number): Shape<number> {
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw wrong(path, `an integer from ${min} to ${max}`, value);
    }
    return value;
  };
}

export const uint32 = integer(0, 0xffff_ffff);

/**
 * A signed 64-bit integer as the nearest double. Values beyond 2^53 are only ever "no limit"
 * in practice, so exactness does not matter there.
 */
export const int64 = integer(-(2 ** 63), 2 ** 63);

/** An unsigned 64-bit integer, exact below 2^53; what JSON.parse rounded to 2^64 is 2^64 - 1. */
export const uint64: Shape<bigint> = (value, path) => {
  const number = integer(0, 2 ** 64)(value, path);
  return number >= 2 ** 64 ? 2n ** 64n - 1n : BigInt(number);
};

/** A list; Go writes an empty one as null. */
export function list<T>(item: Shape<T>): Shape<readonly T[]> {
  return (value, path) => {
    if (value === null) return [];
    if (!Array.isArray(value)) throw wrong(path, 'a list', value);
    if (value.length > ENTRIES_MAX) throw wrong(path, `at most ${ENTRIES_MAX} entries`, value.length);
    return value.map((entry, i) => item(entry, `${path}[${i}]`));
  };
}

/** An object used as a map; Go writes an empty one as null. */
export function mapOf<T>(item: Shape<T>): Shape<ReadonlyMap<string, T>> {
  return (value, path) => {
    if (value === null) return new Map();
    const object = objectAt(value, path);
    return new Map(Object.keys(object).map((key) => [key, item(object[key], `${path}["${key}"]`)] as const));
  };
}

/** Anything, for a part that is only tested for being there. */
export const anything: Shape<unknown> = (value) => value;

/** A field that may be left out or null. */
export interface Optional<T> {
  readonly optional: Shape<T>;
}

export function optional<T>(shape: Shape<T>): Optional<T> {
  return { optional: shape };
}

type Fields = Readonly<Record<string, Shape<unknown> | Optional<unknown>>>;

type Simplify<T> = { readonly [K in keyof T]: T[K] };

type RecordOf<F extends Fields> = Simplify<
  {
    [K in keyof F as F[K] extends Optional<unknown> ? never : K]: F[K] extends Shape<infer T> ? T : never;
  } & {
    [K in keyof F as F[K] extends Optional<unknown> ? K : never]?: F[K] extends Optional<infer T> ? T : never;
  }
>;

/** An object with these fields; others are ignored, as the runtime spec demands. */
export function record<F extends Fields>(fields: F): Shape<RecordOf<F>> {
  return (value, path) => {
    const object = objectAt(value, path);
    const out: Record<string, unknown> = {};
    for (const key of Object.keys(fields)) {
      const field = fields[key] as Shape<unknown> | Optional<unknown>;
      const at = path === '' ? key : `${path}.${key}`;
      const given = Object.hasOwn(object, key) ? object[key] : undefined;
      if (typeof field === 'function') out[key] = field(given, at);
      else if (given !== undefined && given !== null) out[key] = field.optional(given, at);
    }
    return out as RecordOf<F>;
  };
}

function objectAt(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(path, 'an object', value);
  }
  return value as Record<string, unknown>;
}

/** Longest part of a wrong value that an error repeats. */
const SHOWN_CHARACTERS_MAX = 80;

function wrong(path: string, expected: string, value: unknown): SquibError {
  const shown = value === undefined ? 'nothing' : (JSON.stringify(value) ?? String(value));
  const cut = shown.length > SHOWN_CHARACTERS_MAX ? `${shown.slice(0, SHOWN_CHARACTERS_MAX)}...` : shown;
  return new SquibError('invalid-argument', `${path || 'the document'}: expected ${expected}, found ${cut}`);
}
