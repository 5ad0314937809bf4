import { spawn } from 'node:child_process';
import { SquibError } from './errors.ts';

/** More output than this is cut: it only ever goes into an error message or a short answer. */
const OUTPUT_BYTES_MAX = 64 * 1024;

export interface CommandOptions {
  /** The process is killed after this many milliseconds. */
  readonly timeoutMs: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs a program to its end with stdin closed and a clean C locale.
 * @returns its standard output.
 * @throws SquibError `failed-precondition` when it is not installed, `deadline-exceeded` when it
 *   was killed for its time, `internal` with its stderr when it ends badly.
 */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<string> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], LC_ALL: 'C', ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, options.timeoutMs);
  try {
    const { code, signal } = await ended(child, program);
    if (late)
      throw new SquibError('deadline-exceeded', `${program} did not end within ${options.timeoutMs} ms`);
    if (code !== 0) {
      const how = signal ? `was killed by ${signal}` : `ended with status ${code}`;
      throw new SquibError('internal', `${program} ${how}: ${stderr().trim() || 'no message'}`);
    }
    return stdout();
  } finally {
    clearTimeout(timer);
  }
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let length = 0;
  stream.on('data', (chunk: Buffer) => {
    if (length < OUTPUT_BYTES_MAX) chunks.push(chunk.subarray(0, OUTPUT_BYTES_MAX - length));
    length += chunk.length;
  });
  return () => Buffer.concat(chunks).toString();
}

function ended(
  child: ReturnType<typeof spawn>,
  program: string,
): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      reject(
        missing
          ? new SquibError('failed-precondition', `${program} is not installed or not on PATH`)
          : new SquibError('internal', `${program} could not be started`, { cause: error }),
      );
    });
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}
