import { Mux } from '../../src/vsock/mux.ts';
import type { MuxStream, StreamSink } from '../../src/vsock/stream.ts';
import { type Row, transferRow } from './row.ts';

/** Two Mux ends in one thread with an array between them: what the framing itself costs. */
export async function inMemory(bytes: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [what, window] of [
    ['framing alone, 256 KiB window', 262_144],
    ['framing alone, 64 KiB window', 65_536],
  ] as const) {
    const start = performance.now();
    move(bytes, window);
    rows.push(transferRow('memory', what, bytes, performance.now() - start, []));
  }
  return rows;
}

function move(bytes: number, window: number): void {
  const wires: Record<'host' | 'guest', Uint8Array[]> = { host: [], guest: [] };
  let received = 0;
  let source: MuxStream | undefined;
  const quiet: StreamSink = { opened() {}, data() {}, credit() {}, end() {}, reset() {} };
  const host = new Mux(
    'host',
    { send: (frame) => wires.guest.push(frame), ready() {}, accept: () => undefined },
    { window },
  );
  const guest = new Mux('guest', {
    send: (frame) => wires.host.push(frame),
    ready() {},
    accept: (stream) => {
      source = stream;
      return quiet;
    },
  });
  host.hello();
  guest.hello();
  const sink = host.open(1, {
    ...quiet,
    data: (part) => {
      received += part.length;
      sink.consumed(part.length);
    },
  });
  const block = new Uint8Array(65_536);
  while (received < bytes) {
    source?.write(block);
    for (const frame of wires.guest.splice(0)) guest.receive(frame);
    for (const frame of wires.host.splice(0)) host.receive(frame);
  }
}
