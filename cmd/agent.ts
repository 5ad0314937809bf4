/** Entry point of the guest agent: the script that guest/host.c runs as PID 1 of the microVM. */
import { runAgent } from '../src/agent/agent.ts';
import { Kernel } from '../src/agent/sys/kernel.ts';
import type { Host } from '../src/agent/sys/sys.ts';
import { ARM64 } from '../src/agent/sys/syscalls-arm64.ts';
import { X64 } from '../src/agent/sys/syscalls-x64.ts';

declare const host: Host;

/** Tests run the agent without a VM and hand it the descriptor of its channel in the environment. */
const CHANNEL = 'SQUIB_CHANNEL_FD=';
const channel = host.env.find((entry) => entry.startsWith(CHANNEL));

runAgent(
  new Kernel(host.sys, host.sys.arch === 'x64' ? X64 : ARM64),
  channel === undefined ? undefined : Number(channel.slice(CHANNEL.length)),
);
