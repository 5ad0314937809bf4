import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SquibError } from '../base/errors.ts';
import { sha256Hex } from '../base/sha256.ts';
import { utf8Encode } from '../base/utf8.ts';
import { formatRecord, type ProcessRecord, parseRecord, recordProcess } from './process-record.ts';

function makeDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
  }
}

/** What tells one pod from all others, also of another containerd on the same host. */
export interface PodKey {
  readonly address: string;
  readonly namespace: string;
  readonly podId: string;
}

export type ProcessRole = 'shim' | 'vmm';

const NAME = /^[0-9a-f]{32}$/;

/**
 * A pod's directory below the state directory: its socket, its process ids, the engine's files.
 * The name is a hash because a socket's path may have at most 106 bytes and ids reach 76.
 */
export class RunDir {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static of(stateDir: string, { address, namespace, podId }: PodKey): RunDir {
    const hash = sha256Hex(utf8Encode(`${address}\0${namespace}\0${podId}`));
    return new RunDir(join(stateDir, hash.slice(0, 32)));
  }

  /** One that was recorded earlier; undefined for a path that cannot be one of ours. */
  static at(path: string): RunDir | undefined {
    return path.startsWith('/') && NAME.test(basename(path)) ? new RunDir(path) : undefined;
  }

  get socket(): string {
    return join(this.path, 'task.sock');
  }

  /**
   * Makes it, for root alone, and the state directory above it.
   * @throws SquibError `failed-precondition` when the state directory cannot be made or written.
   */
  create(): void {
    const stateDir = dirname(this.path);
    try {
      // Never with `recursive`: Node's loops for ever below /proc.
      makeDirectory(stateDir, 0o711);
      makeDirectory(this.path, 0o700);
      chmodSync(this.path, 0o700);
    } catch (cause) {
      throw new SquibError('failed-precondition', `the state directory ${stateDir} cannot be used`, {
        cause,
      });
    }
  }

  get exists(): boolean {
    return existsSync(this.path);
  }

  /** Notes a process that `delete` must end if the shim cannot any more. */
  record(role: ProcessRole, pid: number): void {
    const process = recordProcess(pid);
    if (process) writeFileSync(join(this.path, `${role}.pid`), formatRecord(process), { mode: 0o600 });
  }

  recorded(role: ProcessRole): ProcessRecord | undefined {
    try {
      return parseRecord(readFileSync(join(this.path, `${role}.pid`), 'utf8'));
    } catch {
      return undefined;
    }
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
