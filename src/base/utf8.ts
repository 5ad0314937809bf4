/**
 * UTF-8 in plain script: the agent's engine has neither TextEncoder nor Buffer, and both ends of
 * a wire must agree on what an ill-formed sequence becomes (U+FFFD, as WHATWG has it).
 */

/** The UTF-8 bytes of a string; a lone surrogate becomes U+FFFD. */
export function utf8Encode(text: string): Uint8Array {
  const length = text.length;
  const ascii = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 0x80) return encodeAny(text);
    ascii[i] = c;
  }
  return ascii;
}

function encodeAny(text: string): Uint8Array {
  const out = new Uint8Array(text.length * 3);
  let n = 0;
  for (let i = 0; i < text.length; i++) {
    let c = text.charCodeAt(i);
    if (c >= 0xd800 && c <= 0xdfff) {
      const low = c <= 0xdbff ? text.charCodeAt(i + 1) : Number.NaN;
      if (low >= 0xdc00 && low <= 0xdfff) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        i++;
      } else c = 0xfffd;
    }
    if (c < 0x80) out[n++] = c;
    else if (c < 0x800) {
      out[n++] = 0xc0 | (c >> 6);
      out[n++] = 0x80 | (c & 0x3f);
    } else if (c < 0x10000) {
      out[n++] = 0xe0 | (c >> 12);
      out[n++] = 0x80 | ((c >> 6) & 0x3f);
      out[n++] = 0x80 | (c & 0x3f);
    } else {
      out[n++] = 0xf0 | (c >> 18);
      out[n++] = 0x80 | ((c >> 12) & 0x3f);
      out[n++] = 0x80 | ((c >> 6) & 0x3f);
      out[n++] = 0x80 | (c & 0x3f);
    }
  }
  return out.slice(0, n);
}

/** The string that UTF-8 bytes stand for; every maximal ill-formed part becomes one U+FFFD. */
export function utf8Decode(bytes: Uint8Array): string {
  if (isAscii(bytes)) return asciiDecode(bytes);
  let text = '';
  let at = 0;
  while (at < bytes.length) {
    const lead = bytes[at] as number;
    if (lead < 0x80) {
      text += String.fromCharCode(lead);
      at++;
      continue;
    }
    const { point, length } = decodeMultibyte(bytes, at, lead);
    text += String.fromCodePoint(point);
    at += length;
  }
  return text;
}

/** Four at a time: the agent's engine interprets, and nearly every text is ASCII. */
function isAscii(bytes: Uint8Array): boolean {
  const length = bytes.length;
  const quads = length & ~3;
  let i = 0;
  for (; i < quads; i += 4) {
    const four = (bytes[i] as number) | (bytes[i + 1] as number) | (bytes[i + 2] as number);
    if ((four | (bytes[i + 3] as number)) & 0x80) return false;
  }
  for (; i < length; i++) if ((bytes[i] as number) >= 0x80) return false;
  return true;
}

/** An engine's argument list is bounded; QuickJS takes 65534. */
const ARGUMENTS_MAX = 8192;

function asciiDecode(bytes: Uint8Array): string {
  if (bytes.length <= ARGUMENTS_MAX) return fromCodes(bytes);
  let text = '';
  for (let at = 0; at < bytes.length; at += ARGUMENTS_MAX) {
    text += fromCodes(bytes.subarray(at, at + ARGUMENTS_MAX));
  }
  return text;
}

function fromCodes(bytes: Uint8Array): string {
  return String.fromCharCode.apply(null, bytes as unknown as number[]);
}

const REPLACEMENT = 0xfffd;

/** One sequence of two to four bytes at `at`; ill-formed ones give U+FFFD and the length to skip. */
function decodeMultibyte(bytes: Uint8Array, at: number, lead: number): { point: number; length: number } {
  const need =
    lead >= 0xc2 && lead <= 0xdf
      ? 1
      : lead >= 0xe0 && lead <= 0xef
        ? 2
        : lead >= 0xf0 && lead <= 0xf4
          ? 3
          : 0;
  if (need === 0) return { point: REPLACEMENT, length: 1 };
  let low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  let high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  let point = lead & (0x3f >> need);
  for (let k = 1; k <= need; k++) {
    const next = bytes[at + k];
    if (next === undefined || next < low || next > high) return { point: REPLACEMENT, length: k };
    point = (point << 6) | (next & 0x3f);
    low = 0x80;
    high = 0xbf;
  }
  return { point, length: need + 1 };
}
