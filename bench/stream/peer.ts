/** The other process of bench/stream: a guest's end on descriptor 3, or with --raw a plain one. */
import { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { SerialGuest } from '../../test/fake/serial-guest.ts';
import { CONTROL, SINK, SOURCE } from './ports.ts';

const wire = new Socket({ fd: 3 });
const window = Number(process.argv[2]);
const block = Buffer.alloc(65_536, 1);

if (window === 0) {
  // Echoes nothing: the first byte says whether this end is to send (1) or to swallow (0).
  wire.once('data', (first) => {
    if (first[0] === 1) flood(wire);
    else wire.resume();
  });
  wire.on('error', () => process.exit());
} else {
  const guest = new SerialGuest(wire, { window });
  guest.ports.set(CONTROL, (stream) => {
    pipeline(stream, stream).catch(() => {});
  });
  guest.ports.set(SINK, (stream) => {
    stream.on('end', () => stream.end()).resume();
  });
  guest.ports.set(SOURCE, (stream) => {
    flood(stream);
  });
  guest.hello();
}
wire.on('close', () => process.exit());

/** Writes until the other end is gone. */
function flood(stream: NodeJS.WritableStream): void {
  const more = (): void => {
    while (stream.write(block));
  };
  stream.on('drain', more);
  more();
}
