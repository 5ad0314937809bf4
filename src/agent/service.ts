import { SquibError } from '../base/errors.ts';
import {
  type AGENT_METHODS,
  AGENT_SERVICE,
  ConfigureRequest,
  ConfigureResponse,
  ContainerRequest,
  CreateContainerRequest,
  CreateContainerResponse,
  Empty,
  PidsResponse,
  ProcessRequest,
  SignalProcessRequest,
} from '../proto/agent.ts';
import type { Call } from '../ttrpc/server-connection.ts';
import type { Container, Done } from './container.ts';
import type { Containers } from './containers.ts';
import type { Events } from './events.ts';
import { encodeStats } from './stats.ts';
import { step } from './step.ts';
import { O_RDONLY } from './sys/constants.ts';
import type { Kernel } from './sys/kernel.ts';

export const AGENT_VERSION = '0.1.0';
const ENTROPY_BYTES_MIN = 32;
const ENTROPY_BYTES_MAX = 512;
const KIB = 1024;
const SIGNAL_MAX = 64;
/** _IO('R', 7): fresh entropy counts at once, not at the generator's next turn. */
const RNDRESEEDCRNG = 0x5207;

/** What the calls work on. */
export interface ServiceParts {
  readonly kernel: Kernel;
  readonly containers: Containers;
  readonly events: Events;
  /** When the agent began and when it was ready, in milliseconds of the guest's clock. */
  readonly bootTimes: { readonly startedMs: number; readonly readyMs: number };
  /** Ends the machine, after `reply` has gone out. */
  readonly shutdown: (reply: () => void) => void;
}

/** The control service, docs/protocol/agent.md: one function per method. */
export class Service {
  readonly #parts: ServiceParts;
  readonly #methods: ReadonlyMap<string, (call: Call) => void>;

  constructor(parts: ServiceParts) {
    this.#parts = parts;
    const { containers, events } = parts;
    const methods: Record<keyof typeof AGENT_METHODS, (call: Call) => void> = {
      Configure: (call) => this.#configure(call),
      CreateContainer: (call) =>
        containers.create(
          CreateContainerRequest.decode(call.payload),
          answer(call, (pid) => CreateContainerResponse.encode({ pid })),
        ),
      StartProcess: (call) => {
        const { container, exec } = ProcessRequest.decode(call.payload);
        this.#init(container, exec).start(answer(call, () => EMPTY));
      },
      SignalProcess: (call) => this.#signal(call),
      DeleteContainer: (call) =>
        containers.delete(
          ContainerRequest.decode(call.payload).container,
          answer(call, () => EMPTY),
        ),
      Pids: (call) => call.reply(PidsResponse.encode({ pids: this.#container(call).cgroup.pids() })),
      Stats: (call) => call.reply(encodeStats(this.#container(call).cgroup)),
      Events: (call) => events.listen(call),
      Shutdown: (call) => parts.shutdown(() => call.reply(EMPTY)),
    };
    this.#methods = new Map(Object.entries(methods));
  }

  /** Takes one call; what it throws is the answer. */
  call(call: Call): void {
    const method = call.service === AGENT_SERVICE ? this.#methods.get(call.method) : undefined;
    if (method === undefined) {
      throw new SquibError('unimplemented', `${call.service}/${call.method} is not known to this agent`);
    }
    method(call);
  }

  #container(call: Call): Container {
    return this.#parts.containers.find(ContainerRequest.decode(call.payload).container);
  }

  #init(container: string, exec: string): Container {
    const found = this.#parts.containers.find(container);
    if (exec !== '') throw new SquibError('not-found', `container "${container}" has no process "${exec}"`);
    return found;
  }

  #signal(call: Call): void {
    const { container, exec, signal, all } = SignalProcessRequest.decode(call.payload);
    if (signal > SIGNAL_MAX) {
      throw new SquibError('invalid-argument', `signal ${signal}, expected 0 to ${SIGNAL_MAX}`);
    }
    this.#init(container, exec).signal(signal, all);
    call.reply(EMPTY);
  }

  #configure(call: Call): void {
    const { kernel, bootTimes } = this.#parts;
    const request = ConfigureRequest.decode(call.payload);
    const { timeSeconds, timeNanos, entropy, hostname } = request;
    if (timeSeconds > 0) step('set the clock', () => kernel.clockSettime(timeSeconds, timeNanos));
    if (entropy.length > 0) this.#seed(entropy);
    if (hostname !== '') step(`set host name "${hostname}"`, () => kernel.sethostname(hostname));
    call.reply(
      ConfigureResponse.encode({
        agentVersion: AGENT_VERSION,
        kernelRelease: kernel.kernelRelease(),
        memoryTotalBytes: memoryTotal(kernel),
        onlineCpus: kernel.cpuCount(),
        startedMs: Math.floor(bootTimes.startedMs),
        readyMs: Math.floor(bootTimes.readyMs),
      }),
    );
  }

  #seed(entropy: Uint8Array): void {
    if (entropy.length < ENTROPY_BYTES_MIN || entropy.length > ENTROPY_BYTES_MAX) {
      throw new SquibError(
        'invalid-argument',
        `entropy of ${entropy.length} bytes, expected ${ENTROPY_BYTES_MIN} to ${ENTROPY_BYTES_MAX}`,
      );
    }
    const { kernel } = this.#parts;
    step('seed the random number generator', () => {
      kernel.addEntropy(entropy);
      const fd = kernel.open('/dev/urandom', O_RDONLY);
      try {
        kernel.ioctl(fd, RNDRESEEDCRNG);
      } finally {
        kernel.close(fd);
      }
    });
  }
}

const EMPTY = Empty.encode({});

function answer<T>(call: Call, encode: (value: Exclude<T, SquibError>) => Uint8Array): Done<T> {
  return (result) => {
    if (result instanceof SquibError) call.fail(result);
    else call.reply(encode(result as Exclude<T, SquibError>));
  };
}

/** MemTotal of /proc/meminfo, in bytes. */
function memoryTotal(kernel: Kernel): number {
  for (const line of kernel.readFile('/proc/meminfo').split('\n')) {
    if (line.startsWith('MemTotal:'))
      return Number(line.slice('MemTotal:'.length).replace('kB', '').trim()) * KIB;
  }
  return 0;
}
