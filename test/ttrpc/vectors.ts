import { readFileSync } from 'node:fs';

/** The bytes of a golden file: hex, spaces, and comments from # to the end of the line. */
export function golden(name: string): Uint8Array {
  const text = readFileSync(new URL(`../vectors/ttrpc/${name}.hex`, import.meta.url), 'utf8');
  return Uint8Array.from(Buffer.from(text.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, ''), 'hex'));
}

export function text(bytes: string): Uint8Array {
  return Uint8Array.from(Buffer.from(bytes));
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}
