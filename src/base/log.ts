/** A log line's fields: container_id, exec_id and what else its reader needs. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Levels by who reads: `error` and `warn` an operator, `info` an operator who looks, `debug` a
 * developer.
 */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** Drops everything; for callers that log nowhere. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};
