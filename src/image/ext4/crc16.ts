/** By the low byte of the sum and a byte of the data: eight steps of the reflected polynomial 0xA001. */
const TABLE = new Uint16Array(256).map((_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xa001 : 0);
  return crc;
});

/** CRC-16 as the kernel's crc16(): start with 0xffff, chain freely. */
export function crc16(start: number, bytes: Uint8Array): number {
  let crc = start;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] as number);
  return crc;
}
