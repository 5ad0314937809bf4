import { closeSync, constants, openSync, writeSync } from 'node:fs';
import type { LogFields, Logger } from './log.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

const RANK: Readonly<Record<LogLevel, number>> = { debug: 20, info: 30, warn: 40, error: 50 };

/** A longer line could arrive torn: POSIX writes up to PIPE_BUF bytes whole or not at all. */
const LINE_BYTES_MAX = 4096;

/** Lines that wait while the log library is being loaded; more are dropped, the oldest kept. */
const PENDING_LINES_MAX = 256;

export interface FifoLoggerOptions {
  /** containerd's `log` FIFO in the bundle; it need not exist. */
  readonly path: string;
  readonly level: LogLevel;
  /** On every line. */
  readonly fields: LogFields;
}

interface Line {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields | undefined;
}

type Sink = Pick<Logger, LogLevel>;

/**
 * Writes JSON lines to containerd's log FIFO. The log library is loaded by the first line that
 * the level lets through (9 ms), so a plain run pays nothing. With containerd down the FIFO fills
 * up and further lines are dropped: logging never blocks and never fails.
 */
export class FifoLogger implements Logger {
  readonly #options: FifoLoggerOptions;
  readonly #pending: Line[] = [];
  #level: LogLevel;
  #sink: Sink | undefined;
  #loading: Promise<void> | undefined;
  #fd: number | undefined;

  constructor(options: FifoLoggerOptions) {
    this.#options = options;
    this.#level = options.level;
  }

  /** The configuration is read after the first lines may be due. */
  setLevel(level: LogLevel): void {
    this.#level = level;
  }

  debug(message: string, fields?: LogFields): void {
    this.#log({ level: 'debug', message, fields });
  }

  info(message: string, fields?: LogFields): void {
    this.#log({ level: 'info', message, fields });
  }

  warn(message: string, fields?: LogFields): void {
    this.#log({ level: 'warn', message, fields });
  }

  error(message: string, fields?: LogFields): void {
    this.#log({ level: 'error', message, fields });
  }

  /** Resolves when every line so far is written or dropped. */
  async flush(): Promise<void> {
    await this.#loading;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #log(line: Line): void {
    if (RANK[line.level] < RANK[this.#level]) return;
    if (this.#sink) {
      write(this.#sink, line);
      return;
    }
    if (this.#pending.length < PENDING_LINES_MAX) this.#pending.push(line);
    this.#loading ??= this.#load();
  }

  async #load(): Promise<void> {
    try {
      const { pino } = await import('pino');
      const options = {
        base: this.#options.fields,
        level: 'debug',
        messageKey: 'msg',
        timestamp: () => `,"time":"${new Date().toISOString()}"`,
        formatters: { level: (label: string) => ({ level: label }) },
      };
      const pinoLogger = pino(options, { write: (text: string) => this.#write(text) });
      this.#sink = {
        debug: (message, fields) => pinoLogger.debug(fields ?? {}, message),
        info: (message, fields) => pinoLogger.info(fields ?? {}, message),
        warn: (message, fields) => pinoLogger.warn(fields ?? {}, message),
        error: (message, fields) => pinoLogger.error(fields ?? {}, message),
      };
      for (const line of this.#pending.splice(0)) write(this.#sink, line);
    } catch {
      this.#pending.length = 0;
    }
  }

  /** O_RDWR never blocks for want of a reader and never raises SIGPIPE. */
  #write(text: string): void {
    const bytes = Buffer.from(text);
    const line =
      bytes.length <= LINE_BYTES_MAX
        ? bytes
        : Buffer.concat([bytes.subarray(0, LINE_BYTES_MAX - 1), Buffer.from('\n')]);
    try {
      this.#fd ??= openSync(this.#options.path, constants.O_RDWR | constants.O_NONBLOCK);
      writeSync(this.#fd, line);
    } catch {
      // Full (EAGAIN), or there is no FIFO: the line is dropped, as logging must not fail the task.
    }
  }
}

function write(sink: Sink, { level, message, fields }: Line): void {
  sink[level](message, fields);
}
