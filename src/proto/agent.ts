/**
 * squib.agent.v1, the shim's protocol with the guest agent. src/proto/agent.proto is the
 * specification and says what the fields mean; this table is checked against it in the tests.
 *
 * 64-bit values that a number cannot hold exactly (only "infinity", 2^64-1, occurs): they read as
 * 2^64, are written back as 2^64-1, and `halvesU64` of src/base/cursor.ts gives the two 32-bit
 * words that a syscall's struct takes.
 */
import { bool, bytes, i32, i64, list, type MessageOf, message, string, sub, u32, u64 } from './codec.ts';
import { rpc } from './rpc.ts';

const NAME = 'squib.agent.v1.';

/** The ttrpc service, on this port of the serial stream. */
export const AGENT_SERVICE = `${NAME}Agent`;
export const AGENT_PORT = 1;

export const Empty = message(`${NAME}Empty`, {});

export const ConfigureRequest = message(`${NAME}ConfigureRequest`, {
  timeSeconds: i64(1),
  timeNanos: u32(2),
  entropy: bytes(3),
  hostname: string(4),
});
export type ConfigureRequest = MessageOf<typeof ConfigureRequest>;

export const ConfigureResponse = message(`${NAME}ConfigureResponse`, {
  agentVersion: string(1),
  kernelRelease: string(2),
  memoryTotalBytes: u64(3),
  onlineCpus: u32(4),
  startedMs: u32(5),
  readyMs: u32(6),
});
export type ConfigureResponse = MessageOf<typeof ConfigureResponse>;

export const Rootfs = message(`${NAME}Rootfs`, {
  lowerSerial: string(1),
  upperSerial: string(2),
  readonly: bool(3),
});
export type Rootfs = MessageOf<typeof Rootfs>;

export const User = message(`${NAME}User`, {
  uid: u32(1),
  gid: u32(2),
  additionalGids: list(u32(3)),
  umask: u32(4),
  hasUmask: bool(5),
});
export type User = MessageOf<typeof User>;

export const Capabilities = message(`${NAME}Capabilities`, {
  bounding: u64(1),
  effective: u64(2),
  inheritable: u64(3),
  permitted: u64(4),
  ambient: u64(5),
});
export type Capabilities = MessageOf<typeof Capabilities>;

export const Rlimit = message(`${NAME}Rlimit`, { resource: u32(1), soft: u64(2), hard: u64(3) });
export type Rlimit = MessageOf<typeof Rlimit>;

export const Stdio = message(`${NAME}Stdio`, { stdinPort: u32(1), stdoutPort: u32(2), stderrPort: u32(3) });
export type Stdio = MessageOf<typeof Stdio>;

export const Process = message(`${NAME}Process`, {
  args: list(string(1)),
  env: list(string(2)),
  cwd: string(3),
  user: sub(4, User),
  capabilities: sub(5, Capabilities),
  rlimits: list(sub(6, Rlimit)),
  noNewPrivileges: bool(7),
  oomScoreAdj: i32(8),
  terminal: bool(9),
  stdio: sub(10, Stdio),
  seccompFilter: bytes(11),
});
export type Process = MessageOf<typeof Process>;

export const Mount = message(`${NAME}Mount`, {
  destination: string(1),
  type: string(2),
  source: string(3),
  flags: u64(4),
  data: string(5),
  propagation: u64(6),
});
export type Mount = MessageOf<typeof Mount>;

export const Namespace = message(`${NAME}Namespace`, { cloneFlag: u64(1), container: string(2) });
export type Namespace = MessageOf<typeof Namespace>;

export const Device = message(`${NAME}Device`, {
  path: string(1),
  mode: u32(2),
  major: u32(3),
  minor: u32(4),
  uid: u32(5),
  gid: u32(6),
});
export type Device = MessageOf<typeof Device>;

export const KeyValue = message(`${NAME}KeyValue`, { key: string(1), value: string(2) });
export type KeyValue = MessageOf<typeof KeyValue>;

export const Resources = message(`${NAME}Resources`, {
  memoryMax: u64(1),
  memoryLow: u64(2),
  swapMax: i64(3),
  cpuQuotaUs: u64(4),
  cpuPeriodUs: u64(5),
  cpuWeight: u32(6),
  cpusetCpus: string(7),
  pidsMax: u64(8),
  unified: list(sub(9, KeyValue)),
});
export type Resources = MessageOf<typeof Resources>;

export const CreateContainerRequest = message(`${NAME}CreateContainerRequest`, {
  id: string(1),
  rootfs: sub(2, Rootfs),
  process: sub(3, Process),
  hostname: string(4),
  domainname: string(5),
  mounts: list(sub(6, Mount)),
  namespaces: list(sub(7, Namespace)),
  maskedPaths: list(string(8)),
  readonlyPaths: list(string(9)),
  devices: list(sub(10, Device)),
  sysctls: list(sub(11, KeyValue)),
  resources: sub(12, Resources),
});
export type CreateContainerRequest = MessageOf<typeof CreateContainerRequest>;

export const CreateContainerResponse = message(`${NAME}CreateContainerResponse`, { pid: u32(1) });
export type CreateContainerResponse = MessageOf<typeof CreateContainerResponse>;

export const ContainerRequest = message(`${NAME}ContainerRequest`, { container: string(1) });
export type ContainerRequest = MessageOf<typeof ContainerRequest>;

export const ProcessRequest = message(`${NAME}ProcessRequest`, { container: string(1), exec: string(2) });
export type ProcessRequest = MessageOf<typeof ProcessRequest>;

export const SignalProcessRequest = message(`${NAME}SignalProcessRequest`, {
  container: string(1),
  exec: string(2),
  signal: u32(3),
  all: bool(4),
});
export type SignalProcessRequest = MessageOf<typeof SignalProcessRequest>;

export const PidsResponse = message(`${NAME}PidsResponse`, { pids: list(u32(1)) });
export type PidsResponse = MessageOf<typeof PidsResponse>;

export const StatValue = message(`${NAME}StatValue`, { key: string(1), value: u64(2) });
export type StatValue = MessageOf<typeof StatValue>;

export const StatsResponse = message(`${NAME}StatsResponse`, {
  memoryCurrent: u64(1),
  memoryMax: u64(2),
  memoryStat: list(sub(3, StatValue)),
  memoryEvents: list(sub(4, StatValue)),
  cpuStat: list(sub(5, StatValue)),
  pidsCurrent: u64(6),
  pidsMax: u64(7),
  ioStat: string(8),
});
export type StatsResponse = MessageOf<typeof StatsResponse>;

export const ProcessExit = message(`${NAME}ProcessExit`, {
  container: string(1),
  exec: string(2),
  status: u32(3),
  timeSeconds: i64(4),
  timeNanos: u32(5),
});
export type ProcessExit = MessageOf<typeof ProcessExit>;

export const OutOfMemory = message(`${NAME}OutOfMemory`, { container: string(1) });
export type OutOfMemory = MessageOf<typeof OutOfMemory>;

export const Event = message(`${NAME}Event`, { exit: sub(1, ProcessExit), outOfMemory: sub(2, OutOfMemory) });
export type Event = MessageOf<typeof Event>;

/** Every method; `Events` answers with a stream, the others with one message. */
export const AGENT_METHODS = {
  Configure: rpc(ConfigureRequest, ConfigureResponse),
  CreateContainer: rpc(CreateContainerRequest, CreateContainerResponse),
  StartProcess: rpc(ProcessRequest, Empty),
  SignalProcess: rpc(SignalProcessRequest, Empty),
  DeleteContainer: rpc(ContainerRequest, Empty),
  Pids: rpc(ContainerRequest, PidsResponse),
  Stats: rpc(ContainerRequest, StatsResponse),
  Events: rpc(Empty, Event),
  Shutdown: rpc(Empty, Empty),
} as const;
