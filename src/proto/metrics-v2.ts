/**
 * io.containerd.cgroups.v2.Metrics (containerd/cgroups: v2/stats/metrics.proto), for the answer
 * to Stats: the fields that containerd 1.6's version has, which later ones keep.
 */
import { list, type MessageOf, message, string, sub, u32, u64 } from './codec.ts';

const NAME = 'io.containerd.cgroups.v2.';

const PidsStat = message(`${NAME}PidsStat`, {
  current: u64(1),
  limit: u64(2),
});

const CPUStat = message(`${NAME}CPUStat`, {
  usageUsec: u64(1),
  userUsec: u64(2),
  systemUsec: u64(3),
  nrPeriods: u64(4),
  nrThrottled: u64(5),
  throttledUsec: u64(6),
});

const MemoryStat = message(`${NAME}MemoryStat`, {
  anon: u64(1),
  file: u64(2),
  kernelStack: u64(3),
  slab: u64(4),
  sock: u64(5),
  shmem: u64(6),
  fileMapped: u64(7),
  fileDirty: u64(8),
  fileWriteback: u64(9),
  anonThp: u64(10),
  inactiveAnon: u64(11),
  activeAnon: u64(12),
  inactiveFile: u64(13),
  activeFile: u64(14),
  unevictable: u64(15),
  slabReclaimable: u64(16),
  slabUnreclaimable: u64(17),
  pgfault: u64(18),
  pgmajfault: u64(19),
  workingsetRefault: u64(20),
  workingsetActivate: u64(21),
  workingsetNodereclaim: u64(22),
  pgrefill: u64(23),
  pgscan: u64(24),
  pgsteal: u64(25),
  pgactivate: u64(26),
  pgdeactivate: u64(27),
  pglazyfree: u64(28),
  pglazyfreed: u64(29),
  thpFaultAlloc: u64(30),
  thpCollapseAlloc: u64(31),
  usage: u64(32),
  usageLimit: u64(33),
  swapUsage: u64(34),
  swapLimit: u64(35),
});

const RdmaEntry = message(`${NAME}RdmaEntry`, {
  device: string(1),
  hcaHandles: u32(2),
  hcaObjects: u32(3),
});

const RdmaStat = message(`${NAME}RdmaStat`, {
  current: list(sub(1, RdmaEntry)),
  limit: list(sub(2, RdmaEntry)),
});

const IOEntry = message(`${NAME}IOEntry`, {
  major: u64(1),
  minor: u64(2),
  rbytes: u64(3),
  wbytes: u64(4),
  rios: u64(5),
  wios: u64(6),
});

const IOStat = message(`${NAME}IOStat`, {
  usage: list(sub(1, IOEntry)),
});

const HugeTlbStat = message(`${NAME}HugeTlbStat`, {
  current: u64(1),
  max: u64(2),
  pagesize: string(3),
});

const MemoryEvents = message(`${NAME}MemoryEvents`, {
  low: u64(1),
  high: u64(2),
  max: u64(3),
  oom: u64(4),
  oomKill: u64(5),
});

export const Metrics = message(`${NAME}Metrics`, {
  pids: sub(1, PidsStat),
  cpu: sub(2, CPUStat),
  memory: sub(4, MemoryStat),
  rdma: sub(5, RdmaStat),
  io: sub(6, IOStat),
  hugetlb: list(sub(7, HugeTlbStat)),
  memoryEvents: sub(8, MemoryEvents),
});
export type Metrics = MessageOf<typeof Metrics>;
