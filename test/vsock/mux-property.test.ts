import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Mux, type Side } from '../../src/vsock/mux.ts';
import type { MuxStream, StreamSink } from '../../src/vsock/stream.ts';

/** A port per stream: the guest knows by it which plan the stream follows. */
const FIRST_PORT = 10;

/** What one end does on one stream: sends `bytes` in writes of `piece`, reads in sips of `sip`. */
interface EndPlan {
  readonly bytes: number;
  readonly piece: number;
  readonly sip: number;
}

/** One end of one stream that follows its plan; byte i of a direction is (i * 31 + port) & 255. */
class Actor implements StreamSink {
  readonly #plan: EndPlan;
  readonly #port: number;
  readonly #windowBytes: number;
  stream: MuxStream | undefined;
  sent = 0;
  received = 0;
  unread = 0;
  ended = false;
  shut = false;

  constructor(plan: EndPlan, port: number, windowBytes: number) {
    this.#plan = plan;
    this.#port = port;
    this.#windowBytes = windowBytes;
  }

  opened(): void {}
  credit(): void {}
  data(bytes: Uint8Array): void {
    for (const byte of bytes) {
      assert.equal(byte, (this.received++ * 31 + this.#port) & 255, 'bytes come in order');
    }
    this.unread += bytes.length;
    assert.ok(this.unread <= this.#windowBytes, 'never more than the window waits');
  }
  end(): void {
    this.ended = true;
  }
  reset(reason: string): void {
    assert.fail(`stream on port ${this.#port} was reset: ${reason}`);
  }

  /** Sends one piece, or half-closes after the last. @returns whether anything was done. */
  send(): boolean {
    const stream = this.stream;
    if (stream === undefined || stream.state === 'opening' || this.shut) return false;
    const n = Math.min(this.#plan.piece, this.#plan.bytes - this.sent);
    if (n === 0) {
      stream.shutdown();
      this.shut = true;
      return true;
    }
    const bytes = Uint8Array.from({ length: n }, (_, i) => ((this.sent + i) * 31 + this.#port) & 255);
    const taken = stream.write(bytes);
    this.sent += taken;
    return taken > 0;
  }

  /** Lets the reader take a sip. @returns whether anything was there. */
  read(): boolean {
    const n = Math.min(this.#plan.sip, this.unread);
    if (n === 0) return false;
    this.unread -= n;
    this.stream?.consumed(n);
    return true;
  }

  get done(): boolean {
    return this.shut && this.ended && this.unread === 0 && this.stream?.state === 'closed';
  }
}

/** Bytes under way in one direction; delivered in slices of any size. */
class Pipe {
  #bytes: number[] = [];
  put(frame: Uint8Array): void {
    this.#bytes.push(...frame);
  }
  take(n: number): Uint8Array {
    return Uint8Array.from(this.#bytes.splice(0, n));
  }
}

/** Two Mux ends, a pipe each way, and an actor at both ends of every stream. */
class World {
  readonly toGuest = new Pipe();
  readonly toHost = new Pipe();
  readonly host: Mux;
  readonly guest: Mux;
  readonly actors: Actor[] = [];

  constructor(plans: readonly (readonly [EndPlan, EndPlan])[], windows: readonly [number, number]) {
    const guests = plans.map(([, plan], i) => new Actor(plan, FIRST_PORT + i, windows[1]));
    const end = (side: Side, out: Pipe, window: number) =>
      new Mux(
        side,
        {
          send: (frame) => out.put(frame),
          ready: () => {},
          accept: (stream) => {
            const actor = guests[stream.port - FIRST_PORT] as Actor;
            actor.stream = stream;
            return actor;
          },
        },
        { window },
      );
    this.host = end('host', this.toGuest, windows[0]);
    this.guest = end('guest', this.toHost, windows[1]);
    this.host.hello();
    for (const [i, [plan]] of plans.entries()) {
      const actor = new Actor(plan, FIRST_PORT + i, windows[0]);
      actor.stream = this.host.open(FIRST_PORT + i, actor);
      this.actors.push(actor, guests[i] as Actor);
    }
    this.guest.hello();
  }

  /** One step of the schedule: whose turn it is and how many bytes the wire moves. */
  step(choice: number, amount: number): boolean {
    if (choice % 4 === 0) return this.#move(this.toGuest, this.guest, amount);
    if (choice % 4 === 1) return this.#move(this.toHost, this.host, amount);
    const actor = this.actors[(choice >> 2) % this.actors.length] as Actor;
    return choice % 4 === 2 ? actor.send() : actor.read();
  }

  #move(pipe: Pipe, to: Mux, amount: number): boolean {
    const bytes = pipe.take(amount);
    if (bytes.length > 0) to.receive(bytes);
    return bytes.length > 0;
  }

  /** Gives everybody their turn until nobody has anything to do. */
  settle(): void {
    let busy = true;
    while (busy) {
      busy = false;
      for (let choice = 0; choice < 4 * this.actors.length; choice++) {
        if (this.step(choice, 10_000)) busy = true;
      }
    }
  }
}

const arbPlan = fc.record({
  bytes: fc.nat(600),
  piece: fc.integer({ min: 1, max: 300 }),
  sip: fc.integer({ min: 1, max: 100 }),
});
const arbWindow = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 200 }));

test('any interleaving delivers all bytes of all streams in order, within the windows, to the end', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(arbPlan, arbPlan), { minLength: 1, maxLength: 4 }),
      fc.tuple(arbWindow, arbWindow),
      fc.array(fc.tuple(fc.nat(63), fc.integer({ min: 1, max: 40 })), { maxLength: 300 }),
      (plans, windows, schedule) => {
        const world = new World(plans, windows);
        for (const [choice, amount] of schedule) world.step(choice, amount);
        world.settle();
        for (const [i, actor] of world.actors.entries()) {
          assert.ok(actor.done, `actor ${i} stopped short: no deadlock is allowed`);
          assert.equal(actor.received, plans[i >> 1]?.[i % 2 === 0 ? 1 : 0].bytes);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('a reader that never reads stops its own stream and no other', () => {
  const stalled: EndPlan = { bytes: 100_000, piece: 1000, sip: 0 };
  const lively: EndPlan = { bytes: 5000, piece: 100, sip: 100 };
  const world = new World(
    [
      [stalled, stalled],
      [lively, lively],
    ],
    [256, 64],
  );
  world.settle();
  assert.deepEqual(
    world.actors.map((actor) => [actor.received, actor.done]),
    [
      [256, false],
      [64, false],
      [5000, true],
      [5000, true],
    ],
  );
});
