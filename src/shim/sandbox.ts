import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Duplex } from 'node:stream';
import { withDeadline } from '../base/deadline.ts';
import { describe, SquibError, toSquibError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { AGENT_PORT, type Event } from '../proto/agent.ts';
import type { Engine, Vm, VmConfig } from '../vmm/contract.ts';
import { SerialHost } from '../vsock/host.ts';
import { AgentClient } from './agent-client.ts';
import type { Timeline } from './timeline.ts';

/** Enough to seed the kernel's pool (256 bits) twice over. */
const ENTROPY_BYTES = 64;

/** Ports below are kept for services of the agent. */
const STDIO_PORT_FIRST = 1024;

export interface SandboxOptions {
  readonly engine: Engine;
  readonly vm: VmConfig;
  readonly bootTimeoutMs: number;
  readonly logger: Logger;
  readonly timeline: Timeline;
  /** Called for each event of the agent, in its order. */
  readonly onEvent: (event: Event) => void;
  /** Called once when the VM is gone without `stop`, or its agent cannot be trusted any more. */
  readonly onLost: (reason: SquibError) => void;
}

interface Booted {
  readonly vm: Vm;
  readonly serial: SerialHost;
  readonly agent: AgentClient;
}

/** One pod's virtual machine with its agent. It boots from the moment of its construction. */
export class Sandbox {
  readonly #options: SandboxOptions;
  readonly #launched: Promise<Vm>;
  readonly #booted: Promise<Booted>;
  #vm: Vm | undefined;
  #serial: SerialHost | undefined;
  #state: 'booting' | 'running' | 'lost' | 'stopped' = 'booting';
  #drives = 0;
  #nextPort = STDIO_PORT_FIRST;

  constructor(options: SandboxOptions) {
    this.#options = options;
    this.#launched = options.engine.launch(options.vm);
    this.#booted = this.#boot();
    this.#booted.catch((thrown) => this.#lose(toSquibError(thrown, 'unavailable')));
  }

  /** The VMM's process id on the host; resolves before the guest is up. */
  async pid(): Promise<number> {
    return (await this.#launched).pid;
  }

  /** The VMM's process id, or 0 before it runs. */
  get pidNow(): number {
    return this.#vm?.pid ?? 0;
  }

  /** The guest answers; false while it boots and once it is lost or stopped. */
  get isRunning(): boolean {
    return this.#state === 'running';
  }

  /** Resolves when containers can be created. @throws what kept the VM from coming up. */
  async agent(): Promise<AgentClient> {
    return (await this.#booted).agent;
  }

  /** Plugs an image in. @returns the serial number under which the agent finds the disk. */
  async plug(pathOnHost: string, isReadOnly: boolean): Promise<string> {
    const { vm } = await this.#booted;
    const driveId = `disk${++this.#drives}`;
    await vm.putDrive({ driveId, pathOnHost, isReadOnly, serial: driveId });
    return driveId;
  }

  /** Takes a disk away that `plug` named; a VM that is gone has none any more. */
  async unplug(driveId: string): Promise<void> {
    if (this.#vm !== undefined && this.#state === 'running') await this.#vm.removeDrive(driveId);
  }

  /** A port number that no stream of this VM has had. */
  newPort(): number {
    return this.#nextPort++;
  }

  /** Opens a stream to the guest. */
  async connect(port: number): Promise<Duplex> {
    return (await this.#booted).serial.connect(port);
  }

  /** Ends the VM at once. Idempotent; `onLost` is not called for it. */
  async stop(): Promise<void> {
    if (this.#state !== 'lost') this.#state = 'stopped';
    const vm = await this.#launched.catch(() => undefined);
    await vm?.stop();
    this.#serial?.close();
  }

  async #boot(): Promise<Booted> {
    const { bootTimeoutMs, timeline } = this.#options;
    const vm = await this.#launched;
    this.#vm = vm;
    timeline.mark('vmm');
    const serial = SerialHost.attach(vm.agent);
    this.#serial = serial;
    void vm.exited.then((exit) => this.#vmExited(exit.code, exit.signal, exit.consoleTail));
    void serial.closed.then((error) => this.#serialClosed(error));
    try {
      await Promise.race([
        withDeadline(serial.ready, bootTimeoutMs, "the guest agent's first frame"),
        vm.exited.then(() => Promise.reject(new SquibError('unavailable', 'the virtual machine ended'))),
      ]);
    } catch (thrown) {
      throw this.#withConsole('the guest did not come up', thrown);
    }
    timeline.mark('hello');
    const agent = new AgentClient(serial.connect(AGENT_PORT));
    const nowMs = Date.now();
    const guest = await agent.call('Configure', {
      timeSeconds: Math.floor(nowMs / 1000),
      timeNanos: (nowMs % 1000) * 1e6,
      entropy: await hostEntropy(),
      // What a container without a hostname of its own sees with runc too.
      hostname: hostname(),
    });
    timeline.mark('configured');
    timeline.note('guest:kernel', guest.startedMs);
    timeline.note('guest:agent', guest.readyMs - guest.startedMs);
    this.#options.logger.debug('guest is up', {
      kernel: guest.kernelRelease,
      agent: guest.agentVersion,
      memory: guest.memoryTotalBytes,
      cpus: guest.onlineCpus,
    });
    if (this.#state === 'booting') this.#state = 'running';
    void this.#followEvents(agent);
    return { vm, serial, agent };
  }

  async #followEvents(agent: AgentClient): Promise<void> {
    try {
      for await (const event of agent.events()) this.#options.onEvent(event);
      throw new SquibError('unavailable', "the agent's event stream ended");
    } catch (thrown) {
      this.#lose(toSquibError(thrown));
    }
  }

  #vmExited(code: number | null, signal: string | null, consoleTail: string): void {
    const how = signal === null ? `with status ${code}` : `by ${signal}`;
    this.#lose(new SquibError('unavailable', `the virtual machine ended ${how}${quote(consoleTail)}`));
  }

  /** The guest reached its end of the line; give the VMM's own exit the first word. */
  #serialClosed(error: Error | undefined): void {
    setTimeout(() => {
      const cause = error ?? new SquibError('unavailable', 'the serial stream ended');
      this.#lose(this.#withConsole('the guest agent is gone', cause));
    }, EXIT_GRACE_MS).unref();
  }

  #lose(reason: SquibError): void {
    if (this.#state === 'stopped' || this.#state === 'lost') return;
    this.#state = 'lost';
    this.#options.logger.error('the pod lost its virtual machine', { error: describe(reason) });
    this.#options.onLost(reason);
    this.stop().catch((thrown: unknown) => {
      this.#options.logger.error('stopping the virtual machine failed', { error: describe(thrown) });
    });
  }

  #withConsole(what: string, thrown: unknown): SquibError {
    const error = toSquibError(thrown);
    return new SquibError(error.code, `${what}: ${describe(error)}${quote(this.#vm?.consoleTail() ?? '')}`);
  }
}

/** Node's own source of randomness costs a shim 8 ms and 2 MB to load; the kernel's does not. */
async function hostEntropy(): Promise<Uint8Array> {
  const file = await open('/dev/urandom', 'r');
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(ENTROPY_BYTES));
    if (bytesRead === ENTROPY_BYTES) return buffer;
    throw new SquibError('internal', `/dev/urandom gave ${bytesRead} of ${ENTROPY_BYTES} bytes`);
  } finally {
    await file.close();
  }
}

/** A VMM that dies closes the serial stream first; its exit status says more. */
const EXIT_GRACE_MS = 200;

/** How much of the console an error message carries. */
const CONSOLE_CHARACTERS_MAX = 1500;

function quote(consoleTail: string): string {
  const tail = consoleTail.trim().slice(-CONSOLE_CHARACTERS_MAX);
  return tail === '' ? '; the console is empty' : `; end of its console:\n${tail}`;
}
