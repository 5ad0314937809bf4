import { SquibError } from '../base/errors.ts';

/** What containerd's command line says; '' where it says nothing. */
export interface ShimFlags {
  readonly namespace: string;
  readonly id: string;
  /** containerd's gRPC socket. */
  readonly address: string;
  readonly publishBinary: string;
  readonly bundle: string;
  readonly debug: boolean;
}

/** Namespaces and ids as containerd allows them; both become part of paths. */
const IDENTIFIER = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/;
const IDENTIFIER_CHARACTERS_MAX = 76;

/**
 * Reads the flags that the launcher hands on (`-key value`, `-debug`).
 * @throws SquibError `invalid-argument` for a missing or malformed id or namespace.
 */
export function parseFlags(argv: readonly string[]): ShimFlags {
  const values = new Map<string, string>();
  let debug = false;
  for (let i = 0; i < argv.length; i++) {
    const flag = argv[i] as string;
    if (flag === '-debug') debug = true;
    else if (flag.startsWith('-')) values.set(flag.slice(1), argv[++i] ?? '');
  }
  return {
    namespace: identifier(values, 'namespace'),
    id: identifier(values, 'id'),
    address: values.get('address') ?? '',
    publishBinary: values.get('publish-binary') ?? '',
    bundle: values.get('bundle') ?? '',
    debug,
  };
}

function identifier(values: ReadonlyMap<string, string>, flag: string): string {
  const value = values.get(flag) ?? '';
  if (!IDENTIFIER.test(value) || value.length > IDENTIFIER_CHARACTERS_MAX) {
    throw new SquibError(
      'invalid-argument',
      `-${flag} is "${value}"; expected at most ${IDENTIFIER_CHARACTERS_MAX} letters, digits and single . _ - between them`,
    );
  }
  return value;
}
