/** One entry of a `map<string, string>` field; of two with the same key the later one counts. */
import { type MessageOf, message, string } from './codec.ts';

export const StringEntry = message('MapEntry', { key: string(1), value: string(2) });
export type StringEntry = MessageOf<typeof StringEntry>;
