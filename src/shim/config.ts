import { readFileSync } from 'node:fs';
import { describe, SquibError } from '../base/errors.ts';

/** What an operator can set; every value has a default that works. */
export interface Config {
  /** Which VMM runs the pods. */
  readonly engine: string;
  readonly accelerator: string;
  /** QEMU's program: a path, or a name on PATH. */
  readonly qemu: string;
  /** ELF vmlinux; '': the one that was installed with squib. */
  readonly kernel: string;
  /** '': the one that was installed with squib. */
  readonly initramfs: string;
  readonly vcpus: number;
  /** The VM's memory for a pod without a limit. */
  readonly memoryMib: number;
  /** Size of a container's writable file system; the file behind it is sparse. */
  readonly scratchMib: number;
  /** When what a container wrote goes into the host's upper directory, where commit and diff look. */
  readonly commit: 'always' | 'pause' | 'never';
  /** More than this is not put there. */
  readonly commitMaxMib: number;
  /** From the VMM's start to the agent's first word. */
  readonly bootTimeoutMs: number;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
  /** A VMM runs as the user id that is this plus its process id. */
  readonly uidBase: number;
  /** Sockets and process ids of the running pods. */
  readonly stateDir: string;
  /** Form of the answer to `start`. */
  readonly startAnswer: 'auto' | 'plain' | 'json' | 'protobuf';
}

export const CONFIG_PATH = '/etc/squib/config.toml';

type Check = (value: unknown) => string | undefined;

const choice =
  (...names: string[]): Check =>
  (value) =>
    names.includes(value as string) ? undefined : `one of ${names.map((n) => `"${n}"`).join(', ')}`;
const whole =
  (min: number, max: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `an integer from ${min} to ${max}`;
const absolutePath: Check = (value) =>
  typeof value === 'string' && (value === '' || value.startsWith('/')) ? undefined : 'an absolute path';
const name: Check = (value) => (typeof value === 'string' && value !== '' ? undefined : 'a non-empty string');

interface Key {
  readonly field: keyof Config;
  readonly preset: string | number;
  readonly expected: Check;
  /** What a value of the file is multiplied by. */
  readonly unit?: number;
}

/** The file's keys. The sample that is installed is checked against this table by a test. */
export const CONFIG_KEYS: Readonly<Record<string, Key>> = {
  engine: { field: 'engine', preset: 'qemu', expected: choice('qemu') },
  accelerator: { field: 'accelerator', preset: 'auto', expected: choice('auto', 'kvm', 'tcg') },
  qemu: { field: 'qemu', preset: 'qemu-system-x86_64', expected: name },
  kernel: { field: 'kernel', preset: '', expected: absolutePath },
  initramfs: { field: 'initramfs', preset: '', expected: absolutePath },
  vcpus: { field: 'vcpus', preset: 1, expected: whole(1, 64) },
  memory_mib: { field: 'memoryMib', preset: 256, expected: whole(128, 4_194_304) },
  scratch_mib: { field: 'scratchMib', preset: 8192, expected: whole(16, 16_777_216) },
  commit: { field: 'commit', preset: 'always', expected: choice('always', 'pause', 'never') },
  commit_max_mib: { field: 'commitMaxMib', preset: 256, expected: whole(0, 16_777_216) },
  boot_timeout_s: { field: 'bootTimeoutMs', preset: 60, expected: whole(1, 3600), unit: 1000 },
  log_level: { field: 'logLevel', preset: 'warn', expected: choice('debug', 'info', 'warn', 'error') },
  uid_base: { field: 'uidBase', preset: 0x7000_0000, expected: whole(1, 0x7fff_ffff) },
  state_dir: { field: 'stateDir', preset: '/run/squib', expected: absolutePath },
  start_answer: {
    field: 'startAnswer',
    preset: 'auto',
    expected: choice('auto', 'plain', 'json', 'protobuf'),
  },
};

export function defaultConfig(): Config {
  return fromValues({});
}

/**
 * Reads the text of a configuration file.
 * @param file names it in errors.
 * @throws SquibError `invalid-argument` naming file, line and key.
 */
export async function parseConfig(toml: string, file: string): Promise<Config> {
  const { parse, TomlError } = await import('smol-toml');
  let values: Record<string, unknown>;
  try {
    values = parse(toml);
  } catch (thrown) {
    const line = thrown instanceof TomlError ? `:${thrown.line}` : '';
    const reason = describe(thrown).split('\n', 1)[0];
    throw new SquibError('invalid-argument', `${file}${line}: ${reason}`);
  }
  for (const [key, value] of Object.entries(values)) {
    const at = `${file}:${lineOf(toml, key)}`;
    const known = Object.hasOwn(CONFIG_KEYS, key) ? CONFIG_KEYS[key] : undefined;
    if (known === undefined) {
      const keys = Object.keys(CONFIG_KEYS).join(', ');
      throw new SquibError('invalid-argument', `${at}: unknown key "${key}"; known keys: ${keys}`);
    }
    const expected = known.expected(value);
    if (expected !== undefined) {
      const shown = JSON.stringify(value) ?? String(value);
      throw new SquibError('invalid-argument', `${at}: ${key} is ${shown}; expected ${expected}`);
    }
  }
  return fromValues(values);
}

/** Where the configuration of one pod comes from: runtime options go before the file. */
export interface ConfigSource {
  /** A file that the runtime options name and that must exist; '' or undefined: none. */
  readonly path?: string | undefined;
  /** TOML text from the runtime options; '' or undefined: none. */
  readonly body?: string | undefined;
  /** Where the host's file is, if not at CONFIG_PATH; then it must exist. */
  readonly hostPath?: string | undefined;
}

/**
 * Finds and reads the configuration. Only CONFIG_PATH may be missing.
 * @throws SquibError `failed-precondition` for a named file that cannot be read.
 */
export async function loadConfig(source: ConfigSource): Promise<Config> {
  if (source.body && !source.path) return parseConfig(source.body, 'runtime options (config_body)');
  const path = source.path || source.hostPath || CONFIG_PATH;
  let toml: string;
  try {
    toml = readFileSync(path, 'utf8');
  } catch (thrown) {
    const missing = (thrown as NodeJS.ErrnoException).code === 'ENOENT';
    if (missing && path === CONFIG_PATH) return defaultConfig();
    throw new SquibError('failed-precondition', `the configuration "${path}" cannot be read`, {
      cause: thrown,
    });
  }
  return parseConfig(toml, path);
}

function fromValues(values: Record<string, unknown>): Config {
  const config: Record<string, unknown> = {};
  for (const [key, { field, preset, unit }] of Object.entries(CONFIG_KEYS)) {
    const value = values[key] ?? preset;
    config[field] = unit === undefined ? value : (value as number) * unit;
  }
  return config as unknown as Config;
}

/** The line, counted from 1, on which a top-level key or table stands; smol-toml does not tell. */
function lineOf(toml: string, key: string): number {
  const lines = toml.split('\n');
  const escaped = key.replace(/[^\w-]/g, '\\$&');
  const at = lines.findIndex((line) =>
    new RegExp(`^\\s*(\\[\\[?\\s*)?["']?${escaped}["']?\\s*[.=\\]]`).test(line),
  );
  return at + 1;
}
