import { SquibError } from '../../base/errors.ts';

/**
 * A number field of a tar header: octal digits, blanks in front, ended by a blank, a NUL or the
 * field's end (POSIX); or, its first bit set, a big-endian two's complement of the rest (GNU).
 * An empty field is 0.
 * @throws SquibError invalid-argument when it is neither, or when it exceeds 2^53.
 */
export function tarNumber(bytes: Uint8Array, at: number, length: number, field: string): number {
  const first = bytes[at] as number;
  if (first >= 0x80) return base256(bytes, at, length, field);
  const end = at + length;
  let i = at;
  while (i < end && (bytes[i] === 0x20 || bytes[i] === 0)) i++;
  let value = 0;
  for (; i < end; i++) {
    const digit = (bytes[i] as number) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  for (; i < end; i++) {
    if (bytes[i] !== 0x20 && bytes[i] !== 0) {
      const shown = Buffer.from(bytes.subarray(at, end)).toString('latin1');
      throw new SquibError('invalid-argument', `${field} is ${JSON.stringify(shown)}, not an octal number`);
    }
    if (bytes[i] === 0) break;
  }
  return value;
}

function base256(bytes: Uint8Array, at: number, length: number, field: string): number {
  const first = bytes[at] as number;
  // Bit 6 is the sign; a negative one is counted from -1 downwards.
  const negative = (first & 0x40) !== 0;
  let value = negative ? (first & 0x3f) - 0x40 : first & 0x3f;
  for (let i = at + 1; i < at + length; i++) value = value * 256 + (bytes[i] as number);
  if (!Number.isSafeInteger(value)) {
    throw new SquibError('invalid-argument', `${field} does not fit into 53 bits`);
  }
  return value;
}

/**
 * Decimal digits from `at` to `end`, as pax and GNU's sparse maps write them.
 * @throws SquibError invalid-argument on anything else, and above 2^53.
 */
export function decimal(bytes: Uint8Array, at: number, end: number, field: string): number {
  let value = 0;
  for (let i = at; i < end; i++) {
    const digit = (bytes[i] as number) - 0x30;
    if (digit < 0 || digit > 9) return notDecimal(bytes, at, end, field);
    value = value * 10 + digit;
  }
  if (end <= at || !Number.isSafeInteger(value)) return notDecimal(bytes, at, end, field);
  return value;
}

function notDecimal(bytes: Uint8Array, at: number, end: number, field: string): never {
  const shown = Buffer.from(bytes.subarray(at, Math.min(end, at + 40))).toString('latin1');
  throw new SquibError(
    'invalid-argument',
    `${field} is ${JSON.stringify(shown)}, not a decimal number below 2^53`,
  );
}
