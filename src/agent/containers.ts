import { SquibError } from '../base/errors.ts';
import type { CreateContainerRequest, Process, Rootfs } from '../proto/agent.ts';
import type { MuxStream, StreamSink } from '../vsock/stream.ts';
import { Container, type ContainerParts, type Done } from './container.ts';

/** A pod's, with room; each costs up to six descriptors. */
export const CONTAINERS_MAX = 256;
const ID_LENGTH_MAX = 76;
const STDIO_PORT_MIN = 1024;

/** The containers of the VM by id. */
export class Containers {
  readonly #parts: ContainerParts;
  readonly #byId = new Map<string, Container>();

  constructor(parts: Omit<ContainerParts, 'pidOf'>) {
    this.#parts = { ...parts, pidOf: (container) => this.find(container).pid };
  }

  /** @throws SquibError for a request that cannot be begun; later failures come through `created`. */
  create(request: CreateContainerRequest, created: Done<number>): void {
    const { id } = request;
    const valid = this.#validate(request);
    let ended = false;
    const container = new Container(this.#parts, valid, (result) => {
      if (result instanceof SquibError) {
        ended = true;
        this.#byId.delete(id);
      }
      created(result);
    });
    if (!ended) this.#byId.set(id, container);
  }

  delete(id: string, done: Done<undefined>): void {
    this.find(id).delete((result) => {
      if (result === undefined) this.#byId.delete(id);
      done(result);
    });
  }

  /** @throws SquibError `not-found`. */
  find(id: string): Container {
    const container = this.#byId.get(id);
    if (container === undefined) throw new SquibError('not-found', `container "${id}" does not exist`);
    return container;
  }

  /** The stdio end that listens on the stream's port. */
  accept(stream: MuxStream): StreamSink | undefined {
    for (const container of this.#byId.values()) {
      if (container.hasPort(stream.port)) return container.accept(stream);
    }
    return undefined;
  }

  get all(): readonly Container[] {
    return [...this.#byId.values()];
  }

  #validate(
    request: CreateContainerRequest,
  ): CreateContainerRequest & { readonly process: Process; readonly rootfs: Rootfs } {
    const { id, process, rootfs } = request;
    const refuse = (why: string) => new SquibError('invalid-argument', `container "${id}": ${why}`);
    if (!isId(id)) throw refuse(`id is not 1 to ${ID_LENGTH_MAX} of [A-Za-z0-9_.-]`);
    if (this.#byId.has(id)) throw new SquibError('already-exists', `container "${id}" exists already`);
    if (this.#byId.size >= CONTAINERS_MAX) {
      throw new SquibError('resource-exhausted', `${CONTAINERS_MAX} containers exist already`);
    }
    if (process === undefined || process.args.length === 0 || process.args[0] === '') {
      throw refuse('process.args is empty');
    }
    if (!process.cwd.startsWith('/')) throw refuse(`cwd "${process.cwd}" is not absolute`);
    if (process.terminal) throw new SquibError('unimplemented', `container "${id}": terminals come later`);
    if (process.seccompFilter.length % 8 !== 0) throw refuse('seccomp_filter is no sock_filter[]');
    if (rootfs === undefined || rootfs.upperSerial === '') throw refuse('rootfs.upper_serial is empty');
    this.#checkPorts(request, refuse);
    return { ...request, process, rootfs };
  }

  #checkPorts({ process }: CreateContainerRequest, refuse: (why: string) => SquibError): void {
    const stdio = process?.stdio;
    const ports = [stdio?.stdinPort, stdio?.stdoutPort, stdio?.stderrPort].filter((port) => !!port);
    ports.forEach((port = 0, i) => {
      if (port < STDIO_PORT_MIN) throw refuse(`stdio port ${port} is below ${STDIO_PORT_MIN}`);
      const used = ports.indexOf(port) !== i || this.all.some((other) => other.hasPort(port));
      if (used) throw refuse(`stdio port ${port} is in use`);
    });
  }
}

/** It names a directory of cgroups and mounts. */
function isId(id: string): boolean {
  if (id === '' || id.length > ID_LENGTH_MAX || id === '.' || id === '..') return false;
  for (let i = 0; i < id.length; i++) {
    const c = id.charCodeAt(i);
    const letter = (c | 0x20) >= 0x61 && (c | 0x20) <= 0x7a;
    const digit = c >= 0x30 && c <= 0x39;
    if (!letter && !digit && c !== 0x5f && c !== 0x2e && c !== 0x2d) return false;
  }
  return true;
}
