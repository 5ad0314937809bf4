import { describe, SquibError } from '../src/base/errors.ts';
import {
  anything,
  flag,
  int64,
  integer,
  list,
  mapOf,
  optional,
  record,
  type Shaped,
  text,
  uint32,
  uint64,
} from './shape.ts';

/**
 * The parts of the OCI runtime spec 1.x (config.json) that squib reads, checked by hand-made
 * shapes. Parts that it must refuse rather than overlook are listed as `anything`.
 */

const user = record({
  uid: uint32,
  gid: uint32,
  umask: optional(integer(0, 0o777)),
  additionalGids: optional(list(uint32)),
});

const capabilities = record({
  bounding: optional(list(text)),
  effective: optional(list(text)),
  inheritable: optional(list(text)),
  permitted: optional(list(text)),
  ambient: optional(list(text)),
});

const rlimit = record({ type: text, hard: uint64, soft: uint64 });

const processShape = record({
  terminal: optional(flag),
  user,
  args: optional(list(text)),
  env: optional(list(text)),
  cwd: text,
  capabilities: optional(capabilities),
  rlimits: optional(list(rlimit)),
  noNewPrivileges: optional(flag),
  oomScoreAdj: optional(integer(-1000, 1000)),
  apparmorProfile: optional(text),
  selinuxLabel: optional(text),
  ioPriority: optional(anything),
  scheduler: optional(anything),
  execCPUAffinity: optional(anything),
});

const mount = record({
  destination: text,
  type: optional(text),
  source: optional(text),
  options: optional(list(text)),
  uidMappings: optional(list(anything)),
  gidMappings: optional(list(anything)),
});

const namespace = record({ type: text, path: optional(text) });

const device = record({
  path: text,
  type: text,
  major: optional(int64),
  minor: optional(int64),
  fileMode: optional(integer(0, 0o7777)),
  uid: optional(uint32),
  gid: optional(uint32),
});

const memory = record({
  limit: optional(int64),
  reservation: optional(int64),
  swap: optional(int64),
});

const cpu = record({
  shares: optional(int64),
  quota: optional(int64),
  period: optional(int64),
  burst: optional(int64),
  realtimeRuntime: optional(int64),
  realtimePeriod: optional(int64),
  cpus: optional(text),
  mems: optional(text),
  idle: optional(int64),
});

const resources = record({
  memory: optional(memory),
  cpu: optional(cpu),
  pids: optional(record({ limit: optional(int64) })),
  blockIO: optional(anything),
  hugepageLimits: optional(list(record({ pageSize: text, limit: uint64 }))),
  network: optional(anything),
  rdma: optional(mapOf(anything)),
  unified: optional(mapOf(text)),
});

const linux = record({
  namespaces: optional(list(namespace)),
  uidMappings: optional(list(anything)),
  gidMappings: optional(list(anything)),
  devices: optional(list(device)),
  cgroupsPath: optional(text),
  resources: optional(resources),
  rootfsPropagation: optional(text),
  seccomp: optional(anything),
  sysctl: optional(mapOf(text)),
  maskedPaths: optional(list(text)),
  readonlyPaths: optional(list(text)),
  mountLabel: optional(text),
  intelRdt: optional(anything),
  personality: optional(anything),
  timeOffsets: optional(mapOf(anything)),
  netDevices: optional(mapOf(anything)),
});

const hooks = record({
  prestart: optional(list(anything)),
  createRuntime: optional(list(anything)),
  createContainer: optional(list(anything)),
  startContainer: optional(list(anything)),
  poststart: optional(list(anything)),
  poststop: optional(list(anything)),
});

const spec = record({
  ociVersion: text,
  process: optional(processShape),
  root: optional(record({ path: text, readonly: optional(flag) })),
  hostname: optional(text),
  domainname: optional(text),
  mounts: optional(list(mount)),
  hooks: optional(hooks),
  annotations: optional(mapOf(text)),
  linux: optional(linux),
  solaris: optional(anything),
  windows: optional(anything),
  vm: optional(anything),
  zos: optional(anything),
});

export type Spec = Shaped<typeof spec>;
export type SpecProcess = Shaped<typeof processShape>;
export type SpecMount = Shaped<typeof mount>;
export type SpecDevice = Shaped<typeof device>;
export type SpecResources = Shaped<typeof resources>;
export type SpecRlimit = Shaped<typeof rlimit>;
export type SpecNamespace = Shaped<typeof namespace>;

/** Larger documents are refused: containerd's own limit on a gRPC message is 16 MiB. */
const SPEC_CHARACTERS_MAX = 16 * 1024 * 1024;

/** Reads the text of a config.json. @throws SquibError `invalid-argument` naming the JSON path. */
export function parseSpec(json: string): Spec {
  const value = spec(parseJson(json, 'config.json'), '');
  if (!/^1\.\d+\.\d+/.test(value.ociVersion)) {
    throw new SquibError(
      'invalid-argument',
      `config.json: ociVersion "${value.ociVersion}" is not supported; expected 1.x.y`,
    );
  }
  return value;
}

/** Reads the text of one `process` object, as an exec brings it. */
export function parseProcess(json: string): SpecProcess {
  return processShape(parseJson(json, 'the process'), 'process');
}

function parseJson(json: string, what: string): unknown {
  if (json.length > SPEC_CHARACTERS_MAX) {
    throw new SquibError(
      'invalid-argument',
      `${what} has ${json.length} characters; at most ${SPEC_CHARACTERS_MAX} are read`,
    );
  }
  try {
    return JSON.parse(json);
  } catch (thrown) {
    throw new SquibError('invalid-argument', `${what} is not JSON (${describe(thrown)})`);
  }
}
