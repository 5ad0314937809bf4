import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { describe, SquibError } from '../../base/errors.ts';
import { CAT } from './cat.ts';
import {
  type Command,
  EXIT_DAMAGED,
  EXIT_FAILED,
  EXIT_OK,
  EXIT_USAGE,
  type ExitCode,
  type OptionHelp,
} from './command.ts';
import { COMMIT } from './commit.ts';
import { CONVERT } from './convert.ts';
import { EXPORT } from './export.ts';
import { LS } from './ls.ts';
import { Output } from './output.ts';
import { Progress } from './progress.ts';
import { VERIFY } from './verify.ts';

const COMMANDS: Readonly<Record<string, Command>> = {
  convert: CONVERT,
  ls: LS,
  cat: CAT,
  export: EXPORT,
  verify: VERIFY,
  commit: COMMIT,
};

const COMMON: Readonly<Record<string, OptionHelp>> = {
  json: { help: 'results, and the error if there is one, as JSON on a line each' },
  quiet: { short: 'q', help: 'no progress on the terminal' },
  help: { short: 'h', help: 'this text' },
};

const STDERR = 2;

/** A wrong call: the message says what is wrong with it. */
class UsageError extends Error {}

/**
 * Runs `squib image …`. Results go to standard output; progress and errors to standard error.
 * @param args what follows `image`.
 * @returns the exit status: 0, 1 failed, 2 wrong call, 3 damaged image or archive.
 */
export async function runImageCommand(args: readonly string[]): Promise<ExitCode> {
  const [verb = '', ...rest] = args;
  const command = Object.hasOwn(COMMANDS, verb) ? COMMANDS[verb] : undefined;
  if (command === undefined) {
    const isHelp = ['', '-h', '--help', 'help'].includes(verb);
    if (!isHelp) say(`squib: unknown command "image ${verb}"\n\n`);
    const text = imageHelp();
    if (isHelp && verb !== '') writeSync(1, text);
    else say(text);
    return isHelp && verb !== '' ? EXIT_OK : EXIT_USAGE;
  }
  return runCommand(verb, command, rest);
}

async function runCommand(verb: string, command: Command, args: readonly string[]): Promise<ExitCode> {
  // Before the arguments are read as a whole: a wrong one may stand beside --json.
  const isJson = args.includes('--json');
  const stdout = new Output(1);
  let progress = new Progress(true);
  try {
    const { options, operands } = readArguments(command, args);
    if (options['help'] !== undefined) {
      writeSync(1, commandHelp(verb, command));
      return EXIT_OK;
    }
    checkOperands(command, operands);
    progress = new Progress(options['quiet'] !== undefined || isJson);
    const code = await command.run({ stdout, progress, operands, options, isJson });
    progress.clear();
    stdout.flush();
    return code;
  } catch (thrown) {
    progress.clear();
    return failed(verb, thrown, isJson);
  }
}

function failed(verb: string, thrown: unknown, isJson: boolean): ExitCode {
  const isUsage = thrown instanceof UsageError;
  const code = isUsage ? 'invalid-argument' : thrown instanceof SquibError ? thrown.code : 'unknown';
  const message = describe(thrown);
  if (isJson) say(`${JSON.stringify({ error: { code, message } })}\n`);
  // `… | head` is no failure to talk about.
  else if (code !== 'canceled')
    say(`squib: ${message}\n${isUsage ? `Try: squib image ${verb} --help\n` : ''}`);
  if (isUsage) return EXIT_USAGE;
  return code === 'data-loss' ? EXIT_DAMAGED : EXIT_FAILED;
}

function readArguments(command: Command, args: readonly string[]) {
  const known = { ...command.options, ...COMMON };
  const options = Object.fromEntries(
    Object.entries(known).map(([name, { value, short }]) => [
      name,
      { type: value === undefined ? ('boolean' as const) : ('string' as const), ...(short ? { short } : {}) },
    ]),
  );
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    const given = Object.entries(values).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : '',
    ]);
    return {
      options: Object.fromEntries(given) as Record<string, string | undefined>,
      operands: positionals,
    };
  } catch (thrown) {
    throw new UsageError(describe(thrown));
  }
}

function checkOperands({ operands: names }: Command, given: readonly string[]): void {
  const required = names.filter((name) => !name.startsWith('['));
  const missing = required[given.length];
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  const surplus = given[names.length];
  if (surplus !== undefined && !names.some((name) => name.endsWith('...')))
    throw new UsageError(`unexpected argument "${surplus}"`);
}

function imageHelp(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((verb) => verb.length));
  const verbs = Object.entries(COMMANDS).map(([verb, { summary }]) => `  ${verb.padEnd(width)}  ${summary}`);
  return `usage: squib image COMMAND [OPTION]... ARGUMENT...

ext4 images without mounting and without root: made from tars and directories, listed, read.

${verbs.join('\n')}

squib image COMMAND --help says more.
Exit status: 0 done, 1 failed, 2 wrong call, 3 damaged image or archive.
`;
}

function commandHelp(verb: string, { summary, operands, options, notes }: Command): string {
  const all = Object.entries({ ...options, ...COMMON }).map(([name, { value, short, help }]) => {
    const long = `--${name}${value === undefined ? '' : ` ${value}`}`;
    return [short ? `-${short}, ${long}` : `    ${long}`, help] as const;
  });
  const width = Math.max(...all.map(([flag]) => flag.length));
  const lines = all.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`);
  return `usage: squib image ${verb} [OPTION]... ${operands.join(' ')}

${summary[0]?.toUpperCase()}${summary.slice(1)}.
${notes === undefined ? '' : `${notes}\n`}
${lines.join('\n')}
`;
}

function say(text: string): void {
  writeSync(STDERR, text);
}
