import { utf8Encode } from '../base/utf8.ts';
import { BootstrapResult, type StartInput } from '../proto/bootstrap.ts';
import type { Config } from './config.ts';

/**
 * The answer to `start`: where the Task service listens, in a form that this containerd reads.
 * The bare address works with all of them and means version 2. 2.3 and later tell themselves by
 * their input; 1.7 and 2.0 to 2.2 cannot be told apart, so JSON with version 3 is an operator's
 * choice (1.7 refuses it).
 */
export function startAnswer(
  address: string,
  input: StartInput,
  form: Config['startAnswer'] = 'auto',
): Uint8Array {
  const wanted = form === 'auto' ? (input.params === undefined ? 'plain' : 'protobuf') : form;
  switch (wanted) {
    case 'plain':
      return utf8Encode(address);
    case 'json':
      return utf8Encode(JSON.stringify({ version: 2, address, protocol: 'ttrpc' }));
    case 'protobuf':
      return BootstrapResult.encode({ version: 3, address, protocol: 'ttrpc' });
  }
}

/** containerd's log level (slog's numbers) as ours; undefined: it did not say. */
export function requestedLogLevel(input: StartInput, debug: boolean): Config['logLevel'] | undefined {
  if (debug) return 'debug';
  const level = input.params?.logLevel;
  return level !== undefined && level < 0 ? 'debug' : undefined;
}
