/** What this package asks of a message library: any that has these two functions fits. */

/** Bytes of a message to its value. Throws SquibError (invalid-argument) where they are none. */
export interface Decoder<T> {
  readonly name: string;
  decode(bytes: Uint8Array): T;
}

/** A message's value to its bytes. */
export interface Encoder<T> {
  readonly name: string;
  encode(value: T): Uint8Array;
}
