/**
 * containerd.runtime.bootstrap.v1 (containerd 2.3: api/runtime/bootstrap/v1/bootstrap.proto), and
 * how `start` tells what it finds on its stdin: docs/protocol/containerd-shim.md, "stdin".
 */
import { SquibError } from '../base/errors.ts';
import { Any, isAny, unpackAny } from './any.ts';
import { i32, list, type MessageOf, message, string, sub } from './codec.ts';
import { RuntimeOptions } from './runtime-options.ts';
import { StringEntry } from './string-entry.ts';

const NAME = 'containerd.runtime.bootstrap.v1.';

const Extension = message(`${NAME}Extension`, { value: sub(1, Any) });

export const BootstrapParams = message(`${NAME}BootstrapParams`, {
  instanceId: string(1),
  namespace: string(2),
  /** 0 info, below more, above less: -8 trace, -4 debug, 4 warn, 8 error, 10 fatal, 12 panic. */
  logLevel: i32(3),
  containerdVersion: string(4),
  containerdTtrpcAddress: string(5),
  containerdGrpcAddress: string(6),
  containerdBinary: string(7),
  extensions: list(sub(8, Extension)),
  socketDir: string(9),
});
export type BootstrapParams = MessageOf<typeof BootstrapParams>;

export const BootstrapResult = message(`${NAME}BootstrapResult`, {
  /** Of the Task service: 2 or 3. */
  version: i32(1),
  address: string(2),
  /** `ttrpc` or `grpc`; the empty string is refused. */
  protocol: string(3),
  capabilities: list(i32(4)),
  metadata: list(sub(5, StringEntry)),
});
export type BootstrapResult = MessageOf<typeof BootstrapResult>;

/** What `start` got on its stdin. */
export interface StartInput {
  /** containerd 2.3 and later only; then it wants a BootstrapResult. */
  readonly params: BootstrapParams | undefined;
  readonly options: RuntimeOptions | undefined;
}

/** containerd sends a few hundred bytes; a configuration body may be larger. */
export const START_INPUT_BYTES_MAX = 1024 * 1024;

/**
 * Reads the stdin of `start`, of any containerd version. An Any and a BootstrapParams look alike;
 * the latter repeats what argv says. An option type that is not ours counts as no options.
 * @param argv the values of -id and -namespace.
 * @throws SquibError invalid-argument if it is neither.
 */
export function readStartInput(
  stdin: Uint8Array,
  argv: { readonly id: string; readonly namespace: string },
): StartInput {
  if (stdin.length === 0) return { params: undefined, options: undefined };
  const params = tryDecode(stdin);
  if (params !== undefined && params.instanceId === argv.id && params.namespace === argv.namespace)
    return { params, options: optionsOf(params.extensions.map((extension) => extension.value)) };
  let any: Any;
  try {
    any = Any.decode(stdin);
  } catch (cause) {
    throw new SquibError(
      'invalid-argument',
      `the ${stdin.length} bytes on stdin are neither runtime options nor bootstrap parameters of ` +
        `${argv.namespace}/${argv.id}`,
      { cause },
    );
  }
  return { params: undefined, options: optionsOf([any]) };
}

/** Whether it decodes says nothing yet: many an Any does too. */
function tryDecode(stdin: Uint8Array): BootstrapParams | undefined {
  try {
    return BootstrapParams.decode(stdin);
  } catch {
    return undefined;
  }
}

function optionsOf(candidates: readonly (Any | undefined)[]): RuntimeOptions | undefined {
  const any = candidates.find((candidate) => candidate !== undefined && isAny(candidate, RuntimeOptions));
  return any === undefined ? undefined : unpackAny(any, RuntimeOptions);
}
