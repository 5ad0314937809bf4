/**
 * The messages inside ttrpc frames, in protocol buffers: docs/protocol/ttrpc.md, "Messages".
 * Written by hand on the byte cursors, so that this package needs no protobuf library; the
 * payloads' own format is the caller's business. Runs in the guest agent too.
 */
import { ByteReader, ByteWriter, halvesI64 } from '../base/cursor.ts';
import { SquibError } from '../base/errors.ts';
import { utf8Decode, utf8Encode } from '../base/utf8.ts';

/** One item of a request's metadata. A key may come more than once. */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

/** Opens a stream and says what is called. */
export interface Request {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  /** How long the caller waits, in nanoseconds; 0: without end. */
  readonly timeoutNanos: number;
  readonly metadata: readonly KeyValue[];
}

/** google.rpc.Status without its details. */
export interface Status {
  /** google.rpc.Code; 0 is OK. */
  readonly code: number;
  readonly message: string;
}

/** Ends a stream. */
export interface Response {
  /** undefined: OK. */
  readonly status: Status | undefined;
  readonly payload: Uint8Array;
}

/** Two bytes make an item; containerd sends a handful. */
export const METADATA_ITEMS_MAX = 1024;

const VARINT = 0;
const SIZED = 2;

export function encodeRequest(request: Request): Uint8Array {
  const out = new ByteWriter(request.payload.length + REQUEST_OVERHEAD_BYTES);
  writeText(out, 1, request.service);
  writeText(out, 2, request.method);
  writeBytes(out, 3, request.payload);
  if (request.timeoutNanos !== 0) {
    const { low, high } = halvesI64(request.timeoutNanos);
    out.varint(tag(4, VARINT));
    out.varint(low, high);
  }
  for (const { key, value } of request.metadata) {
    const item = new ByteWriter();
    writeText(item, 1, key);
    writeText(item, 2, value);
    writeSized(out, 5, item.finish());
  }
  return out.finish();
}

/** @throws SquibError data-loss if the bytes are no request. `payload` is a view of them. */
export function decodeRequest(input: Uint8Array): Request {
  let service = '';
  let method = '';
  let payload: Uint8Array = EMPTY;
  let timeoutNanos = 0;
  const metadata: KeyValue[] = [];
  readFields(input, (field, reader) => {
    if (field === tag(1, SIZED)) service = readText(reader);
    else if (field === tag(2, SIZED)) method = readText(reader);
    else if (field === tag(3, SIZED)) payload = readSized(reader);
    else if (field === tag(4, VARINT)) timeoutNanos = readI64(reader);
    else if (field === tag(5, SIZED)) {
      if (metadata.length === METADATA_ITEMS_MAX)
        throw new SquibError('data-loss', `more than ${METADATA_ITEMS_MAX} metadata items`);
      metadata.push(decodeKeyValue(readSized(reader)));
    } else return false;
    return true;
  });
  return { service, method, payload, timeoutNanos, metadata };
}

function decodeKeyValue(input: Uint8Array): KeyValue {
  let key = '';
  let value = '';
  readFields(input, (field, reader) => {
    if (field === tag(1, SIZED)) key = readText(reader);
    else if (field === tag(2, SIZED)) value = readText(reader);
    else return false;
    return true;
  });
  return { key, value };
}

export function encodeResponse(response: Response): Uint8Array {
  const out = new ByteWriter(response.payload.length + RESPONSE_OVERHEAD_BYTES);
  if (response.status !== undefined) {
    const status = new ByteWriter();
    if (response.status.code !== 0) {
      const { low, high } = halvesI64(response.status.code);
      status.varint(tag(1, VARINT));
      status.varint(low, high);
    }
    writeText(status, 2, response.status.message);
    writeSized(out, 1, status.finish());
  }
  writeBytes(out, 2, response.payload);
  return out.finish();
}

/** @throws SquibError data-loss if the bytes are no response. `payload` is a view of them. */
export function decodeResponse(input: Uint8Array): Response {
  let status: Status | undefined;
  let payload: Uint8Array = EMPTY;
  readFields(input, (field, reader) => {
    if (field === tag(1, SIZED)) status = decodeStatus(readSized(reader), status);
    else if (field === tag(2, SIZED)) payload = readSized(reader);
    else return false;
    return true;
  });
  return { status, payload };
}

/** A status in two parts is merged, as protocol buffers have it. */
function decodeStatus(input: Uint8Array, before: Status | undefined): Status {
  let code = before?.code ?? 0;
  let message = before?.message ?? '';
  readFields(input, (field, reader) => {
    if (field === tag(1, VARINT)) {
      reader.varint();
      code = reader.low | 0;
    } else if (field === tag(2, SIZED)) message = readText(reader);
    else return false;
    return true;
  });
  return { code, message };
}

/** Calls `take` with each field's tag; where it returns false the field is stepped over. */
function readFields(input: Uint8Array, take: (tag: number, reader: ByteReader) => boolean): void {
  const reader = new ByteReader(input);
  while (reader.left > 0) {
    const field = reader.varint();
    if (field < 8 || field > 0xffff_ffff) throw new SquibError('data-loss', `${field} is no field tag`);
    if (!take(field, reader)) reader.skipField(field & 7);
  }
}

function tag(field: number, wireType: number): number {
  return (field << 3) | wireType;
}

function readSized(reader: ByteReader): Uint8Array {
  return reader.view(reader.varint());
}

function readText(reader: ByteReader): string {
  return utf8Decode(readSized(reader));
}

function readI64(reader: ByteReader): number {
  reader.varint();
  return (reader.high | 0) * 0x1_0000_0000 + reader.low;
}

function writeText(out: ByteWriter, field: number, text: string): void {
  writeBytes(out, field, utf8Encode(text));
}

function writeBytes(out: ByteWriter, field: number, bytes: Uint8Array): void {
  if (bytes.length > 0) writeSized(out, field, bytes);
}

function writeSized(out: ByteWriter, field: number, bytes: Uint8Array): void {
  out.varint(tag(field, SIZED));
  out.varint(bytes.length);
  out.raw(bytes);
}

/** Room for the names, so that a large payload is copied once. */
const REQUEST_OVERHEAD_BYTES = 256;
const RESPONSE_OVERHEAD_BYTES = 16;
const EMPTY = new Uint8Array(0);
