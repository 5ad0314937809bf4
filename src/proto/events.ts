/**
 * What a shim publishes (containerd: api/events/task.proto) and the ttrpc service that takes it
 * (api/services/ttrpc/events/v1/events.proto). Order and topics: docs/protocol/containerd-shim.md.
 */
import { SquibError } from '../base/errors.ts';
import { Any, packAny } from './any.ts';
import { bool, type Codec, type Init, list, type MessageOf, message, string, sub, u32 } from './codec.ts';
import { Empty } from './empty.ts';
import { Mount } from './mount.ts';
import { rpc } from './rpc.ts';
import { Timestamp } from './timestamp.ts';

export const TaskIO = message('containerd.events.TaskIO', {
  stdin: string(1),
  stdout: string(2),
  stderr: string(3),
  terminal: bool(4),
});

export const TaskCreate = message('containerd.events.TaskCreate', {
  containerId: string(1),
  bundle: string(2),
  rootfs: list(sub(3, Mount)),
  io: sub(4, TaskIO),
  checkpoint: string(5),
  pid: u32(6),
});

export const TaskStart = message('containerd.events.TaskStart', { containerId: string(1), pid: u32(2) });

export const TaskDelete = message('containerd.events.TaskDelete', {
  containerId: string(1),
  pid: u32(2),
  exitStatus: u32(3),
  exitedAt: sub(4, Timestamp),
  /** The exec's id; empty for the init process. */
  id: string(5),
});

export const TaskExit = message('containerd.events.TaskExit', {
  containerId: string(1),
  /** The exec's id, or the container's own for the init process. */
  id: string(2),
  pid: u32(3),
  exitStatus: u32(4),
  exitedAt: sub(5, Timestamp),
});

export const TaskOOM = message('containerd.events.TaskOOM', { containerId: string(1) });

export const TaskExecAdded = message('containerd.events.TaskExecAdded', {
  containerId: string(1),
  execId: string(2),
});

export const TaskExecStarted = message('containerd.events.TaskExecStarted', {
  containerId: string(1),
  execId: string(2),
  pid: u32(3),
});

export const TaskPaused = message('containerd.events.TaskPaused', { containerId: string(1) });
export const TaskResumed = message('containerd.events.TaskResumed', { containerId: string(1) });

export const TaskCheckpointed = message('containerd.events.TaskCheckpointed', {
  containerId: string(1),
  checkpoint: string(2),
});

export const Envelope = message('containerd.services.events.ttrpc.v1.Envelope', {
  timestamp: sub(1, Timestamp),
  namespace: string(2),
  topic: string(3),
  event: sub(4, Any),
});
export type Envelope = MessageOf<typeof Envelope>;

export const ForwardRequest = message('containerd.services.events.ttrpc.v1.ForwardRequest', {
  envelope: sub(1, Envelope),
});
export type ForwardRequest = MessageOf<typeof ForwardRequest>;

/** The service on containerd's TTRPC_ADDRESS. */
export const EVENTS_SERVICE = 'containerd.services.events.ttrpc.v1.Events';
export const EVENTS_METHODS = { Forward: rpc(ForwardRequest, Empty) } as const;

/** Topic of each event by its message's name, as containerd's runtime package has them. */
export const TASK_TOPICS: ReadonlyMap<string, string> = new Map([
  [TaskCreate.name, '/tasks/create'],
  [TaskStart.name, '/tasks/start'],
  [TaskDelete.name, '/tasks/delete'],
  [TaskExit.name, '/tasks/exit'],
  [TaskOOM.name, '/tasks/oom'],
  [TaskExecAdded.name, '/tasks/exec-added'],
  [TaskExecStarted.name, '/tasks/exec-started'],
  [TaskPaused.name, '/tasks/paused'],
  [TaskResumed.name, '/tasks/resumed'],
  [TaskCheckpointed.name, '/tasks/checkpointed'],
]);

/**
 * The envelope of one event, ready for Forward.
 * @throws SquibError invalid-argument for a message that is no task event.
 */
export function envelope<T>(o: {
  readonly event: Codec<T>;
  readonly value: Init<T>;
  readonly namespace: string;
  readonly timestamp: Timestamp;
}): Init<Envelope> {
  const topic = TASK_TOPICS.get(o.event.name);
  if (topic === undefined) throw new SquibError('invalid-argument', `${o.event.name} is no task event`);
  return {
    timestamp: o.timestamp,
    namespace: o.namespace,
    topic,
    event: packAny(o.event, o.value),
  };
}
