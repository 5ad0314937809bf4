import type { Duplex } from 'node:stream';
import { SquibError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/log.ts';
import {
  AGENT_METHODS,
  AGENT_PORT,
  AGENT_SERVICE,
  type CreateContainerRequest,
  type Event,
} from '../../src/proto/agent.ts';
import type { Codec, Init } from '../../src/proto/codec.ts';
import { type Method, Server, serverStream, unary } from '../../src/ttrpc/server.ts';
import { SerialGuest } from './serial-guest.ts';

interface FakeProcess {
  readonly request: CreateContainerRequest;
  readonly streams: Readonly<Record<'stdin' | 'stdout' | 'stderr', Promise<Duplex> | undefined>>;
  started: boolean;
  exited: boolean;
}

/**
 * A guest agent in Node over one end of a wire: containers are entries of a map, and "programs"
 * are chosen by args[0]. Enough to drive the shim through every verb.
 *
 *   exit N          ends with status N            echo TEXT…    prints the text
 *   cat             copies stdin to stdout        sleep         runs until it is killed
 *   flood N         prints N bytes (i % 251)      orphan        ends, but its stdout stays open
 *   missing         is not found at Create        crash         dies before it is started
 */
export class FakeAgent {
  readonly calls: string[] = [];
  readonly #guest: SerialGuest;
  readonly #processes = new Map<string, FakeProcess>();
  readonly #events: Init<Event>[] = [];
  #wakeEvents: () => void = () => {};

  constructor(wire: Duplex) {
    this.#guest = new SerialGuest(wire);
    const server = new Server({ logger: silentLogger });
    server.register(AGENT_SERVICE, this.#methods());
    this.#guest.ports.set(AGENT_PORT, (stream) => server.serve(stream));
  }

  /** The boot is over. */
  hello(): void {
    this.#guest.hello();
  }

  /** What Create told of a container. */
  created(id: string): CreateContainerRequest | undefined {
    return this.#processes.get(id)?.request;
  }

  emit(event: Init<Event>): void {
    this.#events.push(event);
    this.#wakeEvents();
  }

  #methods(): Record<string, Method> {
    const { Configure, CreateContainer, StartProcess, SignalProcess, DeleteContainer } = AGENT_METHODS;
    const { Pids, Stats, Events, Shutdown } = AGENT_METHODS;
    const note =
      <Req, Res>(name: string, handle: (request: Req) => Promise<Res>) =>
      (request: Req) => {
        this.calls.push(name);
        return handle(request);
      };
    const verb = <Req, Res>(
      name: string,
      { request, response }: { request: Codec<Req>; response: Codec<Res> },
      handle: (request: Req) => Promise<Init<Res>>,
    ) => unary(request, response, note(name, handle));
    return {
      Configure: verb('Configure', Configure, async () => ({
        agentVersion: 'fake',
        kernelRelease: 'fake',
        memoryTotalBytes: 2 ** 28,
        onlineCpus: 1,
      })),
      CreateContainer: verb('CreateContainer', CreateContainer, (request) => this.#create(request)),
      StartProcess: verb('StartProcess', StartProcess, async ({ container }) => this.#start(container)),
      SignalProcess: verb('SignalProcess', SignalProcess, async ({ container, signal }) =>
        this.#signal(container, signal),
      ),
      DeleteContainer: verb('DeleteContainer', DeleteContainer, async ({ container }) => {
        this.#processes.delete(container);
        return {};
      }),
      Pids: verb('Pids', Pids, async () => ({ pids: [7] })),
      Stats: verb('Stats', Stats, async () => ({
        memoryCurrent: 4096,
        memoryMax: 2n ** 64n - 1n,
        memoryStat: [
          { key: 'anon', value: 11 },
          { key: 'kernel_stack', value: 12 },
        ],
        cpuStat: [{ key: 'usage_usec', value: 13 }],
        pidsCurrent: 1,
        ioStat: '8:0 rbytes=5 wbytes=6 rios=7 wios=8\n',
      })),
      Events: serverStream(Events.request, Events.response, () => this.#follow()),
      Shutdown: verb('Shutdown', Shutdown, async () => ({})),
    };
  }

  async *#follow(): AsyncIterable<Init<Event>> {
    for (;;) {
      const next = this.#events.shift();
      if (next !== undefined) yield next;
      else
        await new Promise<void>((resolve) => {
          this.#wakeEvents = resolve;
        });
    }
  }

  async #create(request: CreateContainerRequest) {
    const program = request.process?.args[0];
    if (program === 'missing') {
      throw new SquibError('not-found', 'exec: "missing": executable file not found in $PATH');
    }
    const { stdinPort = 0, stdoutPort = 0, stderrPort = 0 } = request.process?.stdio ?? {};
    const entry: FakeProcess = {
      request,
      streams: {
        stdin: this.#await(stdinPort),
        stdout: this.#await(stdoutPort),
        stderr: this.#await(stderrPort),
      },
      started: false,
      exited: false,
    };
    this.#processes.set(request.id, entry);
    if (program === 'crash') await this.#exit(request.id, 139);
    return { pid: 2 };
  }

  #await(port: number): Promise<Duplex> | undefined {
    if (port === 0) return undefined;
    return new Promise((resolve) => {
      this.#guest.ports.set(port, (stream) => {
        this.#guest.ports.delete(port);
        resolve(stream);
      });
    });
  }

  #start(id: string): Record<string, never> {
    const entry = this.#find(id);
    entry.started = true;
    void this.#run(id, entry);
    return {};
  }

  async #run(id: string, entry: FakeProcess): Promise<void> {
    const [program, ...rest] = entry.request.process?.args ?? [];
    const stdout = await entry.streams.stdout;
    switch (program) {
      case 'exit':
        return this.#exit(id, Number(rest[0]));
      case 'echo':
        stdout?.write(rest.join(' '));
        return this.#exit(id, 0);
      case 'flood':
        stdout?.write(Buffer.from(Array.from({ length: Number(rest[0]) }, (_, i) => i % 251)));
        return this.#exit(id, 0);
      case 'cat': {
        const stdin = await entry.streams.stdin;
        if (stdin && stdout) for await (const chunk of stdin) stdout.write(chunk);
        return this.#exit(id, 0);
      }
      case 'orphan':
        stdout?.write('left open');
        return this.#exit(id, 0, { keepOpen: true });
    }
  }

  #signal(id: string, signal: number): Record<string, never> {
    const entry = this.#find(id);
    if (entry.exited) throw new SquibError('not-found', `no process in ${id}`);
    void this.#exit(id, 128 + signal);
    return {};
  }

  async #exit(id: string, status: number, options: { keepOpen?: boolean } = {}): Promise<void> {
    const entry = this.#find(id);
    if (entry.exited) return;
    entry.exited = true;
    const timeSeconds = Math.floor(Date.now() / 1000);
    this.emit({ exit: { container: id, exec: '', status, timeSeconds, timeNanos: 0 } });
    if (options.keepOpen) return;
    for (const stream of [entry.streams.stdout, entry.streams.stderr]) (await stream)?.end();
  }

  #find(id: string): FakeProcess {
    const entry = this.#processes.get(id);
    if (entry === undefined) throw new SquibError('not-found', `no container ${id}`);
    return entry;
  }
}
