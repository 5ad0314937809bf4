import type { Duplex } from 'node:stream';
import { withDeadline } from '../../base/deadline.ts';
import { SquibError } from '../../base/errors.ts';
import { encodeCommand, QmpDecoder, type QmpMessage, type QmpObject, type QmpValue } from './qmp-codec.ts';

/** More commands under way than any caller has; a loop that forgets to wait must fail. */
const PENDING_MAX = 64;
/** QEMU answers in milliseconds; a disk may stall its main loop for seconds under load. */
export const QMP_REPLY_TIMEOUT_MS = 10_000;

interface Pending {
  readonly command: string;
  resolve(value: QmpValue): void;
  reject(error: Error): void;
}

interface Awaited {
  readonly name: string;
  matches(data: QmpObject): boolean;
  resolve(data: QmpObject): void;
  reject(error: Error): void;
}

/** What ends the connection from below gives the reason: the VM knows the console tail. */
type WhyClosed = () => string;

/**
 * QMP client over an inherited socket (docs/protocol/qmp.md). It reads from construction on.
 * After a breach, an end or an error of the wire every command fails with the same error.
 */
export class Qmp {
  readonly #wire: Duplex;
  readonly #whyClosed: WhyClosed;
  readonly #decoder = new QmpDecoder();
  readonly #pending = new Map<number, Pending>();
  readonly #awaited = new Set<Awaited>();
  readonly #greeted = Promise.withResolvers<string>();
  #greetingSeen = false;
  #lastId = 0;
  #dead: SquibError | undefined;
  /** Settles when the wire may be written to: `exclusively` holds it back. */
  #turn: Promise<void> = Promise.resolve();

  /** @param whyClosed tells, when the wire ends, what is known about the reason. */
  constructor(wire: Duplex, whyClosed: WhyClosed = () => '') {
    this.#wire = wire;
    this.#whyClosed = whyClosed;
    this.#greeted.promise.catch(() => {});
    wire.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    wire.on('error', (cause) => this.#die(this.#closedError(cause)));
    wire.on('close', () => this.#die(this.#closedError()));
    wire.on('end', () => this.#die(this.#closedError()));
  }

  /**
   * Awaits the greeting and negotiates; QEMU's machine exists when it resolves.
   * @returns QEMU's version, as in "7.2.22".
   */
  async negotiate(timeoutMs = QMP_REPLY_TIMEOUT_MS): Promise<string> {
    const version = await withDeadline(this.#greeted.promise, timeoutMs, 'the QMP greeting');
    await this.execute('qmp_capabilities', undefined, timeoutMs);
    return version;
  }

  /**
   * Runs one command.
   * @throws SquibError `internal` with QEMU's words when it refuses, `deadline-exceeded`,
   *   `unavailable` when QEMU is gone.
   */
  async execute(command: string, args?: QmpObject, timeoutMs = QMP_REPLY_TIMEOUT_MS): Promise<QmpValue> {
    const { id, reply } = this.#expect(command);
    await this.#turn;
    if (this.#dead === undefined) this.#wire.write(encodeCommand(id, command, args));
    return await this.#settle(id, reply, command, timeoutMs);
  }

  /**
   * Runs one command whose line somebody else writes to the wire, alone on it until the reply
   * came: for descriptors, which Node cannot send.
   * @param send puts `line` (with no LF) onto the wire.
   */
  async executeBy(
    command: string,
    args: QmpObject,
    send: (line: string) => Promise<void>,
  ): Promise<QmpValue> {
    const before = this.#turn;
    const { promise: turn, resolve: release } = Promise.withResolvers<void>();
    this.#turn = turn;
    try {
      const { id, reply } = this.#expect(command);
      await before;
      await this.#flushed();
      const sent = send(encodeCommand(id, command, args).trimEnd());
      // A send that fails leaves no reply to wait for.
      const both = Promise.all([reply, sent]).then(([value]) => value);
      return await this.#settle(id, both, command, QMP_REPLY_TIMEOUT_MS);
    } finally {
      release();
    }
  }

  /**
   * The data of the next event of that name that `matches`. Ask before the command that brings it.
   * @throws SquibError `deadline-exceeded`, or what ends the connection.
   */
  async event(name: string, matches: (data: QmpObject) => boolean, timeoutMs: number): Promise<QmpObject> {
    if (this.#dead !== undefined) throw this.#dead;
    const { promise, resolve, reject } = Promise.withResolvers<QmpObject>();
    const awaited = { name, matches, resolve, reject };
    this.#awaited.add(awaited);
    try {
      return await withDeadline(promise, timeoutMs, `QEMU's event ${name}`);
    } finally {
      this.#awaited.delete(awaited);
    }
  }

  /** Fails what is pending and lets go of the wire. */
  close(): void {
    this.#die(this.#closedError());
  }

  #expect(command: string): { id: number; reply: Promise<QmpValue> } {
    if (this.#dead !== undefined) throw this.#dead;
    if (this.#pending.size >= PENDING_MAX) {
      throw new SquibError('resource-exhausted', `QMP: ${command}: ${PENDING_MAX} commands are under way`);
    }
    const id = ++this.#lastId;
    const { promise: reply, resolve, reject } = Promise.withResolvers<QmpValue>();
    reply.catch(() => {});
    this.#pending.set(id, { command, resolve, reject });
    return { id, reply };
  }

  async #settle(id: number, reply: Promise<QmpValue>, command: string, ms: number): Promise<QmpValue> {
    try {
      return await withDeadline(reply, ms, `QEMU's answer to ${command}`);
    } finally {
      this.#pending.delete(id);
    }
  }

  /** Resolves when everything written so far has left for the kernel. */
  #flushed(): Promise<void> {
    if (this.#wire.writableLength === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wire.write('', () => resolve());
    });
  }

  #receive(chunk: Uint8Array): void {
    if (this.#dead !== undefined) return;
    try {
      for (const message of this.#decoder.push(chunk)) this.#accept(message);
    } catch (thrown) {
      this.#die(thrown as SquibError);
    }
  }

  #accept(message: QmpMessage): void {
    if ((message.kind === 'greeting') === this.#greetingSeen) {
      throw new SquibError('data-loss', `QMP: QEMU broke the protocol: unexpected ${message.kind}`);
    }
    if (message.kind === 'greeting') {
      this.#greetingSeen = true;
      this.#greeted.resolve(message.version);
      return;
    }
    if (message.kind === 'event') {
      for (const awaited of this.#awaited) {
        if (awaited.name === message.name && awaited.matches(message.data)) awaited.resolve(message.data);
      }
      return;
    }
    const pending = this.#pending.get(message.id);
    if (pending === undefined) {
      // Known but gone: its deadline passed before.
      if (message.id >= 1 && message.id <= this.#lastId) return;
      throw new SquibError('data-loss', `QMP: QEMU broke the protocol: reply to unknown id ${message.id}`);
    }
    this.#pending.delete(message.id);
    if (message.kind === 'return') pending.resolve(message.value);
    else pending.reject(refusal(pending.command, message.errorClass, message.desc));
  }

  #closedError(cause?: Error): SquibError {
    const why = this.#whyClosed();
    return new SquibError('unavailable', `QMP: QEMU is gone${why === '' ? '' : `: ${why}`}`, { cause });
  }

  #die(error: SquibError): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    this.#greeted.reject(error);
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
    for (const awaited of this.#awaited) awaited.reject(error);
    this.#wire.destroy();
  }
}

function refusal(command: string, errorClass: string, desc: string): SquibError {
  return new SquibError('internal', `QEMU refused ${command}: ${desc} (${errorClass})`);
}
