import type { Duplex } from 'node:stream';
import type { BootSource } from './resource/boot-source.ts';
import type { Drive } from './resource/drive.ts';
import type { MachineConfig } from './resource/machine-config.ts';

/** What an engine can do, as data: read it before a call instead of finding out by an error. */
export interface Capabilities {
  /** `putDrive` and `removeDrive` work on a running VM. */
  readonly hotplugDrive: boolean;
  /** Most drives that one VM carries at a time. */
  readonly drivesMax: number;
  readonly pause: boolean;
  readonly vcpusMax: number;
}

/** Everything a VM is before its first instruction. It names no container: DESIGN decision 13. */
export interface VmConfig {
  /** Names the VM in process titles, logs and errors; [A-Za-z0-9_.-]{1,76}. */
  readonly id: string;
  readonly machine: MachineConfig;
  readonly boot: BootSource;
}

/** created → running ⇄ paused → stopped; `stopped` is final. */
export type VmState = 'running' | 'paused' | 'stopped';

/** How a VMM process ended. */
export interface VmExit {
  readonly code: number | null;
  readonly signal: string | null;
  /** The last of the guest's console and of the VMM's stderr, for error messages. */
  readonly consoleTail: string;
}

/** One started virtual machine. */
export interface Vm {
  readonly id: string;
  /** The VMM's process id on the host. */
  readonly pid: number;
  readonly state: VmState;
  readonly capabilities: Capabilities;
  /** The raw serial byte stream to the agent, connected from the start. */
  readonly agent: Duplex;
  /** Settles, and never rejects, when the VMM process is gone, whoever ended it. */
  readonly exited: Promise<VmExit>;
  /** The last of the guest's console so far. */
  consoleTail(): string;
  /** running: plugs a drive; the guest sees it under `drive.serial`. */
  putDrive(drive: Drive): Promise<void>;
  /** running: unplugs; the guest must not use it any more. */
  removeDrive(driveId: string): Promise<void>;
  /** running → paused. */
  pause(): Promise<void>;
  /** paused → running. */
  resume(): Promise<void>;
  /** any → stopped: ends the VMM at once and resolves when the process is gone. Idempotent. */
  stop(): Promise<void>;
}

/** A kind of VMM. */
export interface Engine {
  readonly name: string;
  readonly capabilities: Capabilities;
  /**
   * Starts a VMM with a VM that boots at once; resolves when the process runs and takes commands,
   * not when the guest is up.
   * @throws SquibError `failed-precondition` for a missing or unusable part, naming it;
   *   `unavailable` with the console tail when the VMM dies during the start.
   */
  launch(config: VmConfig): Promise<Vm>;
}
