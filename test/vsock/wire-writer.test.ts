import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { type DataSource, REPLY_BACKLOG_BYTES_MAX, WireWriter } from '../../src/vsock/wire-writer.ts';

/** A wire that takes bytes only when the test says so. */
class StuckWire extends Duplex {
  readonly taken: Buffer[] = [];
  #done: (() => void) | undefined;

  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.taken.push(chunk);
    this.#done = done;
  }
  /** Takes everything that waits. */
  async flow(): Promise<void> {
    while (this.#done !== undefined) {
      const done = this.#done;
      this.#done = undefined;
      done();
      await new Promise(setImmediate);
    }
  }
  /** First byte of every chunk so far: the test's frames begin with their sender's number. */
  order(): number[] {
    return this.taken.splice(0).map((chunk) => chunk[0] as number);
  }
}

/** Sends `frames` frames of 64 KiB that begin with its number. */
class Source implements DataSource {
  readonly urgent: boolean;
  readonly #number: number;
  #frames: number;
  constructor(number: number, frames: number, urgent = false) {
    this.#number = number;
    this.#frames = frames;
    this.urgent = urgent;
  }
  sendFrame(wire: Duplex): boolean {
    wire.write(Buffer.alloc(65_536, this.#number));
    return --this.#frames > 0;
  }
}

test('a peer that reads nothing and is owed answers is given up, before memory is', () => {
  const wire = new StuckWire();
  let given = 0;
  const writer = new WireWriter(wire, () => {
    given++;
    writer.close();
  });
  for (let i = 0; i < 1_000_000; i++) writer.send(new Uint8Array(16));
  assert.equal(given, 1);
  assert.ok(wire.writableLength < REPLY_BACKLOG_BYTES_MAX + 200_000, String(wire.writableLength));
});

test('while the wire is stuck, DATA waits and other frames go on it', async () => {
  const wire = new StuckWire();
  const writer = new WireWriter(wire, () => assert.fail('no overflow'));
  writer.wants(new Source(1, 10));
  const queued = wire.writableLength;
  assert.ok(queued >= 65_536 && queued <= 3 * 65_536, String(queued));
  writer.send(Uint8Array.of(9));
  assert.equal(wire.writableLength, queued + 1);
  await wire.flow();
  assert.deepEqual(wire.order(), [1, 1, 9, 1, 1, 1, 1, 1, 1, 1, 1]);
});

test('streams take turns, one frame each; the urgent one goes first', async () => {
  const wire = new StuckWire();
  const writer = new WireWriter(wire, () => assert.fail('no overflow'));
  writer.wants(new Source(1, 4));
  writer.wants(new Source(2, 3));
  writer.wants(new Source(3, 1));
  writer.wants(new Source(7, 2, true));
  await wire.flow();
  assert.deepEqual(wire.order(), [1, 1, 7, 7, 1, 2, 3, 1, 2, 2]);
});

test('a stream that asks twice gets one turn', async () => {
  const wire = new StuckWire();
  const writer = new WireWriter(wire, () => assert.fail('no overflow'));
  writer.wants(new Source(1, 3));
  const source = new Source(2, 2);
  writer.wants(source);
  writer.wants(source);
  writer.wants(new Source(3, 1));
  await wire.flow();
  assert.deepEqual(wire.order(), [1, 1, 1, 2, 3, 2]);
});

test('nothing goes on the wire after close', async () => {
  const wire = new StuckWire();
  const writer = new WireWriter(wire, () => assert.fail('no overflow'));
  writer.wants(new Source(1, 10));
  writer.close();
  writer.send(Uint8Array.of(9));
  writer.wants(new Source(2, 1));
  await wire.flow();
  assert.deepEqual(wire.order(), [1, 1]);
});
