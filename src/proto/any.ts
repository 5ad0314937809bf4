/** google.protobuf.Any: a message with its type's name. */
import { SquibError } from '../base/errors.ts';
import { bytes, type Codec, type Init, type MessageOf, message, string } from './codec.ts';

export const Any = message('google.protobuf.Any', { typeUrl: string(1), value: bytes(2) });
export type Any = MessageOf<typeof Any>;

/** Packs a message the way containerd's typeurl does: the bare full name, without a host. */
export function packAny<T>(codec: Codec<T>, value: Init<T>): Any {
  return { typeUrl: codec.name, value: codec.encode(value) };
}

/** Whether the Any holds that message; the host part of a type URL says nothing. */
export function isAny<T>(any: Any, codec: Codec<T>): boolean {
  return any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1) === codec.name;
}

/** @throws SquibError invalid-argument if it holds another message or does not decode. */
export function unpackAny<T>(any: Any, codec: Codec<T>): T {
  if (isAny(any, codec)) return codec.decode(any.value);
  throw new SquibError('invalid-argument', `the Any holds '${any.typeUrl}', not ${codec.name}`);
}
