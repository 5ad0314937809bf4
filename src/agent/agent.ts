import { describe } from '../base/errors.ts';
import { AGENT_PORT } from '../proto/agent.ts';
import { inheritPort, milliseconds, mountBasics, mountCgroups, openPort } from './boot.ts';
import { Channel } from './channel.ts';
import { Containers } from './containers.ts';
import { ControlStream } from './control.ts';
import { Events } from './events.ts';
import { log } from './log.ts';
import { Loop } from './loop.ts';
import { Modules } from './modules.ts';
import { endMachine, stopContainers } from './power.ts';
import { Reaper } from './reaper.ts';
import { Service } from './service.ts';
import type { Kernel } from './sys/kernel.ts';

/** What a host that does not read may still hold up the end of the VM. */
const LAST_WORDS_MS = 1_000;

/**
 * PID 1 of the VM: boots, serves the control port, and ends the machine; does not return.
 * @param inherited the channel's descriptor, where there is no virtio-serial port.
 */
export function runAgent(kernel: Kernel, inherited?: number): void {
  const startedMs = milliseconds(kernel);
  mountBasics(kernel);
  const modules = new Modules(kernel);
  modules.loadChannel();
  const loop = new Loop(kernel);
  const reaper = new Reaper(kernel, loop);
  const events = new Events();
  const port = inherited === undefined ? openPort(kernel) : inheritPort(kernel, inherited);
  const channel: Channel = new Channel(kernel, loop, port, {
    accept: (stream) => {
      if (stream.port !== AGENT_PORT) return containers.accept(stream);
      return new ControlStream(
        stream,
        (call) => {
          // Several calls may come in one read; each has the scratch memory to itself.
          kernel.beginEvent();
          service.call(call);
        },
        (text) => log(kernel, text),
      );
    },
    lost: (reason) => {
      log(kernel, `end: ${reason.message}`);
      stopContainers(kernel, containers, reaper);
      endMachine(kernel);
    },
  });
  const prepare = once(() => {
    while (modules.loadNext());
    mountCgroups(kernel);
    kernel.interfaceUp('lo');
  });
  const containers = new Containers({ kernel, loop, reaper, events, channel, prepare });
  const bootTimes = { startedMs, readyMs: 0 };
  const service = new Service({
    kernel,
    bootTimes,
    containers,
    events,
    shutdown: (reply) => {
      stopContainers(kernel, containers, reaper);
      reply();
      channel.drain(LAST_WORDS_MS);
      endMachine(kernel);
    },
  });
  bootTimes.readyMs = milliseconds(kernel);
  channel.mux.hello();
  prepareInTheBackground({ kernel, loop, modules, prepare });
  while (channel.alive) loop.turn(channel.pump());
}

/** What `prepareInTheBackground` works with. */
interface Background {
  readonly kernel: Kernel;
  readonly loop: Loop;
  readonly modules: Modules;
  readonly prepare: () => void;
}

/**
 * One module per turn, so that calls are answered in between. A failure is left to the first
 * CreateContainer, which prepares again and answers with it.
 */
function prepareInTheBackground(parts: Background): void {
  parts.loop.after(0, () => {
    try {
      if (parts.modules.loadNext()) prepareInTheBackground(parts);
      else parts.prepare();
    } catch (thrown) {
      log(parts.kernel, describe(thrown));
    }
  });
}

function once(run: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    run();
    done = true;
  };
}
