/** CRC-16 with the reflected polynomial 0xA001, as the kernel's crc16(): start with 0xffff, chain freely. */
export function crc16(start: number, bytes: Uint8Array): number {
  let crc = start;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xa001 : 0);
  }
  return crc;
}
