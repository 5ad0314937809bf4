/**
 * SHA-256 (FIPS 180-4) of a short text, in hex. Node's own costs 8 ms at the start of a process,
 * since it loads all of OpenSSL: a fifth of what a pod's shim takes to answer. Not for secrets or
 * for bulk.
 */
export function sha256Hex(bytes: Uint8Array): string {
  const { initial, round } = constants();
  const state = Uint32Array.from(initial);
  const padded = pad(bytes);
  const words = new Uint32Array(64);
  for (let at = 0; at < padded.length; at += 64) {
    const view = new DataView(padded.buffer, at, 64);
    for (let i = 0; i < 16; i++) words[i] = view.getUint32(i * 4);
    for (let i = 16; i < 64; i++)
      words[i] =
        word(words, i - 16) + sigma0(word(words, i - 15)) + word(words, i - 7) + sigma1(word(words, i - 2));
    compress(state, words, round);
  }
  return Array.from(state, (value) => value.toString(16).padStart(8, '0')).join('');
}

const word = (words: Uint32Array, i: number): number => words[i] as number;
const rotate = (x: number, n: number): number => (x >>> n) | (x << (32 - n));
const sigma0 = (x: number): number => rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3);
const sigma1 = (x: number): number => rotate(x, 17) ^ rotate(x, 19) ^ (x >>> 10);

/** The message, a one bit, zeros, and its length in bits, in whole blocks of 64 bytes. */
function pad(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const padded = new Uint8Array(Math.ceil((bytes.length + 9) / 64) * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  new DataView(padded.buffer).setUint32(padded.length - 4, bytes.length * 8);
  return padded;
}

/** The first 32 bits of the fractions of the roots of the first primes: square roots, cube roots. */
function constants(): { initial: number[]; round: number[] } {
  const primes: number[] = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p !== 0)) primes.push(n);
  const fraction = (x: number): number => Math.floor((x - Math.floor(x)) * 2 ** 32);
  return {
    initial: primes.slice(0, 8).map((p) => fraction(Math.sqrt(p))),
    round: primes.map((p) => fraction(Math.cbrt(p))),
  };
}

function compress(state: Uint32Array, words: Uint32Array, round: readonly number[]): void {
  let [a, b, c, d, e, f, g, h] = state as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  for (let i = 0; i < 64; i++) {
    const one = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const choice = (e & f) ^ (~e & g);
    const first = (h + one + choice + (round[i] as number) + word(words, i)) | 0;
    const zero = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + zero + majority) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, i) => {
    state[i] = (word(state, i) + value) | 0;
  });
}
