import { SquibError } from '../../base/errors.ts';

/** Longest line either way. The longest reply in use is under 4 KiB; a hostile QEMU must not grow us. */
export const QMP_LINE_BYTES_MAX = 256 * 1024;

export type QmpValue = null | boolean | number | string | QmpValue[] | QmpObject;
export interface QmpObject {
  readonly [name: string]: QmpValue;
}

/** One message from QEMU (docs/protocol/qmp.md, "Lines"). */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'return'; readonly id: number; readonly value: QmpValue }
  | { readonly kind: 'error'; readonly id: number; readonly errorClass: string; readonly desc: string }
  | { readonly kind: 'event'; readonly name: string; readonly data: QmpObject };

const LF = 0x0a;

/** The line of a command, with its LF. */
export function encodeCommand(id: number, command: string, args?: QmpObject): string {
  const message = args === undefined ? { execute: command, id } : { execute: command, arguments: args, id };
  return `${JSON.stringify(message)}\n`;
}

/**
 * Cuts QEMU's byte stream into messages. Pure: bytes in, messages out; keeps at most one line.
 */
export class QmpDecoder {
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  /**
   * The messages that `chunk` completes.
   * @throws SquibError `data-loss` on a line over the limit or one that is no QMP message; the
   *   stream is then unusable.
   */
  push(chunk: Uint8Array): QmpMessage[] {
    const messages: QmpMessage[] = [];
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(LF, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      if (this.#heldBytes + part.length > QMP_LINE_BYTES_MAX) {
        throw breach(`a line is longer than ${QMP_LINE_BYTES_MAX} bytes`);
      }
      if (part.length > 0) {
        this.#held.push(end < 0 ? part.slice() : part);
        this.#heldBytes += part.length;
      }
      if (end < 0) return messages;
      const line = Buffer.concat(this.#held).toString('utf8').trim();
      this.#held = [];
      this.#heldBytes = 0;
      if (line !== '') messages.push(decodeMessage(line));
      from = end + 1;
    }
  }
}

/** Reads one line. @throws SquibError `data-loss` if it is no QMP message. */
export function decodeMessage(line: string): QmpMessage {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch (cause) {
    throw breach(`no JSON: ${excerpt(line)}`, cause);
  }
  const message = asObject(parsed);
  if (message === undefined) throw breach(`not an object: ${excerpt(line)}`);
  if (Object.hasOwn(message, 'QMP')) return { kind: 'greeting', version: versionOf(message['QMP']) };
  if (Object.hasOwn(message, 'event')) {
    const name = message['event'];
    if (typeof name !== 'string') throw breach(`event without a name: ${excerpt(line)}`);
    return { kind: 'event', name, data: asObject(message['data']) ?? {} };
  }
  const id = message['id'];
  if (typeof id !== 'number' || !Number.isSafeInteger(id)) throw breach(`reply without id: ${excerpt(line)}`);
  if (Object.hasOwn(message, 'return')) return { kind: 'return', id, value: message['return'] as QmpValue };
  const error = asObject(message['error']);
  if (error === undefined) throw breach(`neither return nor error: ${excerpt(line)}`);
  return { kind: 'error', id, errorClass: textOf(error['class']), desc: textOf(error['desc']) };
}

function versionOf(greeting: QmpValue | undefined): string {
  const qemu = asObject(asObject(asObject(greeting)?.['version'])?.['qemu']);
  return [qemu?.['major'], qemu?.['minor'], qemu?.['micro']].map((n) => Number(n ?? 0)).join('.');
}

function asObject(value: unknown): QmpObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as QmpObject)
    : undefined;
}

function textOf(value: QmpValue | undefined): string {
  return typeof value === 'string' ? value : '';
}

function breach(what: string, cause?: unknown): SquibError {
  return new SquibError('data-loss', `QMP: QEMU broke the protocol: ${what}`, { cause });
}

/** Enough of a line to see what it was. */
function excerpt(line: string): string {
  return JSON.stringify(line.length > 120 ? `${line.slice(0, 120)}…` : line);
}
