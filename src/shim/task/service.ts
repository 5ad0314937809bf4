import type { Codec, Init } from '../../proto/codec.ts';
import type { Rpc } from '../../proto/rpc.ts';
import { TASK_METHODS, TASK_SERVICES } from '../../proto/task.ts';
import { type Method, type Server, unary } from '../../ttrpc/server.ts';
import type { Pod } from '../pod.ts';
import { closeIo } from './close-io.ts';
import { connectTask } from './connect.ts';
import { createTask } from './create.ts';
import { deleteTask } from './delete.ts';
import { killTask } from './kill.ts';
import { taskPids } from './pids.ts';
import { shutdownTask } from './shutdown.ts';
import { startTask } from './start.ts';
import { taskState } from './state.ts';
import { taskStats } from './stats.ts';
import { unimplemented } from './unimplemented.ts';
import { waitTask } from './wait.ts';

type Methods = typeof TASK_METHODS;
type Handlers = {
  readonly [N in keyof Methods]: Methods[N] extends Rpc<infer Req, infer Res>
    ? (pod: Pod, request: Req) => Promise<Init<Res>>
    : never;
};

const HANDLERS: Handlers = {
  State: taskState,
  Create: createTask,
  Start: startTask,
  Delete: deleteTask,
  Pids: taskPids,
  Pause: unimplemented('pause'),
  Resume: unimplemented('resume'),
  Checkpoint: unimplemented('checkpoint'),
  Kill: killTask,
  Exec: unimplemented('exec'),
  ResizePty: unimplemented('resizing a terminal'),
  CloseIO: closeIo,
  Update: unimplemented('update'),
  Wait: waitTask,
  Stats: taskStats,
  Connect: connectTask,
  Shutdown: shutdownTask,
};

/** Serves the Task service in both versions, whose messages are the same on the wire. */
export function registerTaskService(server: Server, pod: Pod): void {
  const methods: Record<string, Method> = {};
  for (const name of Object.keys(HANDLERS) as (keyof Methods)[]) {
    const { request, response } = TASK_METHODS[name] as Rpc<object, object>;
    const handle = HANDLERS[name] as (pod: Pod, request: object) => Promise<object>;
    methods[name] = unary(request, response as Codec<object>, (message) => handle(pod, message));
  }
  for (const service of TASK_SERVICES) server.register(service, methods);
}
