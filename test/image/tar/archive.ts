/** Builds tar archives for tests, written from docs/protocol/tar.md and not from the scanner. */
export interface Member {
  name?: string;
  type?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  link?: string;
  data?: Uint8Array | string;
  /** Replaces the size field, as a liar would. */
  size?: number;
  major?: number;
  minor?: number;
  prefix?: string;
  pax?: Readonly<Record<string, string>>;
  global?: Readonly<Record<string, string>>;
  /** Changes the finished header block, whose checksum is made afterwards. */
  edit?: (block: Buffer) => void;
}

const bytesOf = (data: Uint8Array | string): Buffer =>
  typeof data === 'string' ? Buffer.from(data, 'latin1') : Buffer.from(data);

function octal(block: Buffer, at: number, length: number, value: number): void {
  const digits = value.toString(8);
  if (value >= 0 && digits.length < length) {
    block.write(digits.padStart(length - 1, '0'), at, 'latin1');
    return;
  }
  let rest = BigInt.asUintN(length * 8, BigInt(value));
  for (let i = length - 1; i >= 0; i--, rest >>= 8n) block[at + i] = Number(rest & 0xffn);
  block[at] = (block[at] as number) | 0x80;
}

/** Sums the block and writes the sum where it belongs. */
export function sign(block: Buffer): Buffer {
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

export function header(member: Member): Buffer {
  const block = Buffer.alloc(512);
  block.write((member.name ?? 'file').slice(0, 100), 0, 'latin1');
  octal(block, 100, 8, member.mode ?? 0o644);
  octal(block, 108, 8, member.uid ?? 0);
  octal(block, 116, 8, member.gid ?? 0);
  octal(block, 124, 12, member.size ?? bytesOf(member.data ?? '').length);
  octal(block, 136, 12, member.mtime ?? 0);
  block.write(member.type ?? '0', 156, 'latin1');
  block.write((member.link ?? '').slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  octal(block, 329, 8, member.major ?? 0);
  octal(block, 337, 8, member.minor ?? 0);
  block.write(member.prefix ?? '', 345, 'latin1');
  member.edit?.(block);
  return sign(block);
}

export function padded(data: Uint8Array | string): Buffer {
  const bytes = bytesOf(data);
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** "<length> key=value\n", the length counting itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

export function member(m: Member): Buffer {
  const parts: Buffer[] = [];
  for (const [type, records] of [
    ['g', m.global],
    ['x', m.pax],
  ] as const) {
    if (!records) continue;
    const data = Object.entries(records)
      .map(([key, value]) => paxRecord(key, value))
      .join('');
    parts.push(header({ name: 'pax', type, data }), padded(data));
  }
  return Buffer.concat([...parts, header(m), padded(m.data ?? '')]);
}

export const END = Buffer.alloc(1024);

export const archive = (...members: readonly Member[]): Buffer =>
  Buffer.concat([...members.map(member), END]);
