import type { Inode } from '../ext4/read/inode.ts';

/** Raw bytes of a name (latin1) from an argument. */
export function rawName(argument: string): string {
  return Buffer.from(argument, 'utf8').toString('latin1');
}

/**
 * A name that somebody else chose, for a terminal: UTF-8 as it is, control characters, backslashes
 * and bytes that are no UTF-8 as escapes.
 */
export function shownName(raw: string): string {
  const bytes = Buffer.from(raw, 'latin1');
  const text = bytes.toString('utf8');
  const isText = Buffer.from(text, 'utf8').equals(bytes);
  return (isText ? text : raw).replace(isText ? CONTROL : CONTROL_OR_HIGH, escaped);
}

const CONTROL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\\]/gu;
const CONTROL_OR_HIGH = /[^ -[\]-~]/g;

function escaped(character: string): string {
  if (character === '\\') return '\\\\';
  const code = character.codePointAt(0) as number;
  return code <= 0xff ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** For JSON: the text, or where the bytes are no UTF-8 the escapes, and then the bytes in hex too. */
export function jsonName<K extends string>(key: K, raw: string): Record<string, string> {
  const bytes = Buffer.from(raw, 'latin1');
  const text = bytes.toString('utf8');
  if (Buffer.from(text, 'utf8').equals(bytes)) return { [key]: text };
  return { [key]: shownName(raw), [`${key}Hex`]: bytes.toString('hex') };
}

const TYPE_LETTERS: Readonly<Record<Inode['type'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  character: 'c',
  block: 'b',
  fifo: 'p',
  socket: 's',
};

/** As ls shows it: -rwsr-xr-x. */
export function modeText({ type, permissions }: Pick<Inode, 'type' | 'permissions'>): string {
  const bit = (mask: number, letter: string) => ((permissions & mask) !== 0 ? letter : '-');
  const execute = (mask: number, special: number, letter: string) => {
    if ((permissions & special) === 0) return bit(mask, 'x');
    return (permissions & mask) !== 0 ? letter : letter.toUpperCase();
  };
  return [
    TYPE_LETTERS[type],
    bit(0o400, 'r'),
    bit(0o200, 'w'),
    execute(0o100, 0o4000, 's'),
    bit(0o40, 'r'),
    bit(0o20, 'w'),
    execute(0o10, 0o2000, 's'),
    bit(0o4, 'r'),
    bit(0o2, 'w'),
    execute(0o1, 0o1000, 't'),
  ].join('');
}

/** Seconds since 1970 as 2026-11-23T05:00:00Z; ext4's range is well inside of Date's. */
export function timeText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytesText(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const digits = power === 0 ? 0 : 1;
  return `${(bytes / 1024 ** power).toFixed(digits)} ${UNITS[power]}`;
}
