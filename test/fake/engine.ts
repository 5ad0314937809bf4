import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { SquibError } from '../../src/base/errors.ts';
import type { Capabilities, Engine, Vm, VmConfig, VmExit } from '../../src/vmm/contract.ts';
import type { Drive } from '../../src/vmm/resource/drive.ts';
import { FakeAgent } from './agent.ts';
import { socketPair } from './socket-pair.ts';

export interface FakeEngineOptions {
  /** The launch itself fails. */
  readonly failLaunch?: boolean;
  /** The guest never says a word. */
  readonly mute?: boolean;
  readonly bootMs?: number;
}

/** An engine whose VMM is a `sleep` process and whose guest is a FakeAgent in this process. */
export class FakeEngine implements Engine {
  readonly name = 'fake';
  readonly capabilities: Capabilities = { hotplugDrive: true, drivesMax: 64, pause: false, vcpusMax: 8 };
  readonly launched: FakeVm[] = [];
  readonly #options: FakeEngineOptions;

  constructor(options: FakeEngineOptions = {}) {
    this.#options = options;
  }

  async launch(config: VmConfig): Promise<FakeVm> {
    const { failLaunch, mute, bootMs = 0 } = this.#options;
    if (failLaunch) throw new SquibError('failed-precondition', 'the guest kernel is not at /nowhere');
    const [host, guest] = await socketPair();
    const vmm = spawn('sleep', ['1000'], { stdio: 'ignore' });
    await once(vmm, 'spawn');
    const vm = new FakeVm(config, host, guest, vmm);
    this.launched.push(vm);
    if (!mute) setTimeout(() => vm.guest.hello(), bootMs);
    return vm;
  }
}

export class FakeVm implements Vm {
  readonly config: VmConfig;
  readonly agent: Duplex;
  readonly guest: FakeAgent;
  /** The guest's end of the serial stream, for a guest that breaks it. */
  readonly guestWire: Duplex;
  readonly capabilities: Capabilities = { hotplugDrive: true, drivesMax: 64, pause: false, vcpusMax: 8 };
  readonly exited: Promise<VmExit>;
  readonly drives = new Map<string, Drive>();
  readonly #vmm: ChildProcess;
  state: 'running' | 'stopped' = 'running';

  constructor(config: VmConfig, host: Duplex, guest: Duplex, vmm: ChildProcess) {
    this.config = config;
    this.agent = host;
    this.guestWire = guest;
    this.guest = new FakeAgent(guest);
    this.#vmm = vmm;
    this.exited = once(vmm, 'exit').then(([code, signal]) => {
      this.state = 'stopped';
      guest.destroy();
      return { code, signal, consoleTail: this.consoleTail() };
    });
  }

  get id(): string {
    return this.config.id;
  }

  get pid(): number {
    return this.#vmm.pid ?? 0;
  }

  consoleTail(): string {
    return 'the last words of the fake guest';
  }

  async putDrive(drive: Drive): Promise<void> {
    this.drives.set(drive.driveId, drive);
  }

  async removeDrive(driveId: string): Promise<void> {
    if (!this.drives.delete(driveId)) throw new SquibError('not-found', `no drive ${driveId}`);
  }

  async pause(): Promise<void> {
    throw new SquibError('unimplemented', 'pause');
  }

  async resume(): Promise<void> {
    throw new SquibError('unimplemented', 'resume');
  }

  async stop(): Promise<void> {
    this.#vmm.kill('SIGKILL');
    await this.exited;
  }
}
