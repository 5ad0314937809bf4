/**
 * containerd's Task service, versions 2 and 3 (containerd: api/runtime/task/v2/shim.proto and
 * v3): the messages are wire-identical, so one table serves both names. What single verbs mean
 * and when containerd sends them is told in docs/protocol/containerd-shim.md.
 */
import { Any } from './any.ts';
import { bool, i32, list, type MessageOf, message, string, sub, u32 } from './codec.ts';
import { Empty } from './empty.ts';
import { Mount } from './mount.ts';
import { rpc } from './rpc.ts';
import { StringEntry } from './string-entry.ts';
import { Timestamp } from './timestamp.ts';

/** The names under which the one method table is registered. */
export const TASK_SERVICES = ['containerd.task.v2.Task', 'containerd.task.v3.Task'] as const;

/** containerd.v1.types.Status. */
export const TASK_STATUS = {
  unknown: 0,
  created: 1,
  running: 2,
  stopped: 3,
  paused: 4,
  pausing: 5,
} as const;

const one = (name: string) => message(`containerd.task.v2.${name}`, { id: string(1) });
const process = (name: string) => message(`containerd.task.v2.${name}`, { id: string(1), execId: string(2) });

export const CreateTaskRequest = message('containerd.task.v2.CreateTaskRequest', {
  id: string(1),
  bundle: string(2),
  rootfs: list(sub(3, Mount)),
  terminal: bool(4),
  stdin: string(5),
  stdout: string(6),
  stderr: string(7),
  checkpoint: string(8),
  parentCheckpoint: string(9),
  options: sub(10, Any),
});
export type CreateTaskRequest = MessageOf<typeof CreateTaskRequest>;

export const CreateTaskResponse = message('containerd.task.v2.CreateTaskResponse', { pid: u32(1) });

export const DeleteRequest = process('DeleteRequest');
export const DeleteResponse = message('containerd.task.v2.DeleteResponse', {
  pid: u32(1),
  exitStatus: u32(2),
  exitedAt: sub(3, Timestamp),
});
export type DeleteResponse = MessageOf<typeof DeleteResponse>;

export const ExecProcessRequest = message('containerd.task.v2.ExecProcessRequest', {
  id: string(1),
  execId: string(2),
  terminal: bool(3),
  stdin: string(4),
  stdout: string(5),
  stderr: string(6),
  /** typeUrl types.containerd.io/opencontainers/runtime-spec/1/Process, value JSON. */
  spec: sub(7, Any),
});
export type ExecProcessRequest = MessageOf<typeof ExecProcessRequest>;

export const ResizePtyRequest = message('containerd.task.v2.ResizePtyRequest', {
  id: string(1),
  execId: string(2),
  width: u32(3),
  height: u32(4),
});

export const StateRequest = process('StateRequest');
export const StateResponse = message('containerd.task.v2.StateResponse', {
  id: string(1),
  bundle: string(2),
  pid: u32(3),
  /** One of TASK_STATUS. */
  status: i32(4),
  stdin: string(5),
  stdout: string(6),
  stderr: string(7),
  terminal: bool(8),
  exitStatus: u32(9),
  exitedAt: sub(10, Timestamp),
  execId: string(11),
});
export type StateResponse = MessageOf<typeof StateResponse>;

export const KillRequest = message('containerd.task.v2.KillRequest', {
  id: string(1),
  execId: string(2),
  signal: u32(3),
  all: bool(4),
});
export type KillRequest = MessageOf<typeof KillRequest>;

export const CloseIORequest = message('containerd.task.v2.CloseIORequest', {
  id: string(1),
  execId: string(2),
  stdin: bool(3),
});

/** containerd.v1.types.ProcessInfo */
export const ProcessInfo = message('containerd.v1.types.ProcessInfo', { pid: u32(1), info: sub(2, Any) });
export const PidsRequest = one('PidsRequest');
export const PidsResponse = message('containerd.task.v2.PidsResponse', {
  processes: list(sub(1, ProcessInfo)),
});

export const CheckpointTaskRequest = message('containerd.task.v2.CheckpointTaskRequest', {
  id: string(1),
  path: string(2),
  options: sub(3, Any),
});

export const UpdateTaskRequest = message('containerd.task.v2.UpdateTaskRequest', {
  id: string(1),
  resources: sub(2, Any),
  annotations: list(sub(3, StringEntry)),
});

export const StartRequest = process('StartRequest');
export const StartResponse = message('containerd.task.v2.StartResponse', { pid: u32(1) });

export const WaitRequest = process('WaitRequest');
export const WaitResponse = message('containerd.task.v2.WaitResponse', {
  exitStatus: u32(1),
  exitedAt: sub(2, Timestamp),
});

export const StatsRequest = one('StatsRequest');
export const StatsResponse = message('containerd.task.v2.StatsResponse', { stats: sub(1, Any) });

export const ConnectRequest = one('ConnectRequest');
export const ConnectResponse = message('containerd.task.v2.ConnectResponse', {
  shimPid: u32(1),
  taskPid: u32(2),
  version: string(3),
});

export const ShutdownRequest = message('containerd.task.v2.ShutdownRequest', { id: string(1), now: bool(2) });
export const PauseRequest = one('PauseRequest');
export const ResumeRequest = one('ResumeRequest');

/** Every method of the service. */
export const TASK_METHODS = {
  State: rpc(StateRequest, StateResponse),
  Create: rpc(CreateTaskRequest, CreateTaskResponse),
  Start: rpc(StartRequest, StartResponse),
  Delete: rpc(DeleteRequest, DeleteResponse),
  Pids: rpc(PidsRequest, PidsResponse),
  Pause: rpc(PauseRequest, Empty),
  Resume: rpc(ResumeRequest, Empty),
  Checkpoint: rpc(CheckpointTaskRequest, Empty),
  Kill: rpc(KillRequest, Empty),
  Exec: rpc(ExecProcessRequest, Empty),
  ResizePty: rpc(ResizePtyRequest, Empty),
  CloseIO: rpc(CloseIORequest, Empty),
  Update: rpc(UpdateTaskRequest, Empty),
  Wait: rpc(WaitRequest, WaitResponse),
  Stats: rpc(StatsRequest, StatsResponse),
  Connect: rpc(ConnectRequest, ConnectResponse),
  Shutdown: rpc(ShutdownRequest, Empty),
} as const;
