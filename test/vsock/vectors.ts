import { readFileSync } from 'node:fs';
import type { ControlFrame } from '../../src/vsock/frame.ts';

interface Vectors {
  readonly control: readonly { hex: string; frame: ControlFrame }[];
  readonly lenient: readonly { why: string; hex: string; frame: ControlFrame }[];
  readonly data: readonly { hex: string; stream: number; length: number }[];
  readonly malformed: readonly { why: string; hex: string }[];
}

/** The golden bytes of the serial stream. */
export const vectors: Vectors = JSON.parse(
  readFileSync(new URL('../vectors/serial-stream/frames.json', import.meta.url), 'utf8'),
);

/** Hex with spaces to bytes. */
export function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
}

/** One array of several. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
