/**
 * io.containerd.cgroups.v1.Metrics (containerd/cgroups: stats/v1/metrics.proto), for the answer
 * to Stats. Times are in nanoseconds.
 */
import { list, type MessageOf, message, string, sub, u32, u64 } from './codec.ts';

const NAME = 'io.containerd.cgroups.v1.';

const HugetlbStat = message(`${NAME}HugetlbStat`, {
  usage: u64(1),
  max: u64(2),
  failcnt: u64(3),
  pagesize: string(4),
});

const PidsStat = message(`${NAME}PidsStat`, {
  current: u64(1),
  limit: u64(2),
});

const CPUUsage = message(`${NAME}CPUUsage`, {
  total: u64(1),
  kernel: u64(2),
  user: u64(3),
  perCpu: list(u64(4)),
});

const Throttle = message(`${NAME}Throttle`, {
  periods: u64(1),
  throttledPeriods: u64(2),
  throttledTime: u64(3),
});

const CPUStat = message(`${NAME}CPUStat`, {
  usage: sub(1, CPUUsage),
  throttling: sub(2, Throttle),
});

const MemoryEntry = message(`${NAME}MemoryEntry`, {
  limit: u64(1),
  usage: u64(2),
  max: u64(3),
  failcnt: u64(4),
});

const MemoryStat = message(`${NAME}MemoryStat`, {
  cache: u64(1),
  rss: u64(2),
  rssHuge: u64(3),
  mappedFile: u64(4),
  dirty: u64(5),
  writeback: u64(6),
  pgPgIn: u64(7),
  pgPgOut: u64(8),
  pgFault: u64(9),
  pgMajFault: u64(10),
  inactiveAnon: u64(11),
  activeAnon: u64(12),
  inactiveFile: u64(13),
  activeFile: u64(14),
  unevictable: u64(15),
  hierarchicalMemoryLimit: u64(16),
  hierarchicalSwapLimit: u64(17),
  totalCache: u64(18),
  totalRss: u64(19),
  totalRssHuge: u64(20),
  totalMappedFile: u64(21),
  totalDirty: u64(22),
  totalWriteback: u64(23),
  totalPgPgIn: u64(24),
  totalPgPgOut: u64(25),
  totalPgFault: u64(26),
  totalPgMajFault: u64(27),
  totalInactiveAnon: u64(28),
  totalActiveAnon: u64(29),
  totalInactiveFile: u64(30),
  totalActiveFile: u64(31),
  totalUnevictable: u64(32),
  usage: sub(33, MemoryEntry),
  swap: sub(34, MemoryEntry),
  kernel: sub(35, MemoryEntry),
  kernelTcp: sub(36, MemoryEntry),
});

const BlkIOEntry = message(`${NAME}BlkIOEntry`, {
  op: string(1),
  device: string(2),
  major: u64(3),
  minor: u64(4),
  value: u64(5),
});

const BlkIOStat = message(`${NAME}BlkIOStat`, {
  ioServiceBytesRecursive: list(sub(1, BlkIOEntry)),
  ioServicedRecursive: list(sub(2, BlkIOEntry)),
  ioQueuedRecursive: list(sub(3, BlkIOEntry)),
  ioServiceTimeRecursive: list(sub(4, BlkIOEntry)),
  ioWaitTimeRecursive: list(sub(5, BlkIOEntry)),
  ioMergedRecursive: list(sub(6, BlkIOEntry)),
  ioTimeRecursive: list(sub(7, BlkIOEntry)),
  sectorsRecursive: list(sub(8, BlkIOEntry)),
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

const NetworkStat = message(`${NAME}NetworkStat`, {
  name: string(1),
  rxBytes: u64(2),
  rxPackets: u64(3),
  rxErrors: u64(4),
  rxDropped: u64(5),
  txBytes: u64(6),
  txPackets: u64(7),
  txErrors: u64(8),
  txDropped: u64(9),
});

const CgroupStats = message(`${NAME}CgroupStats`, {
  nrSleeping: u64(1),
  nrRunning: u64(2),
  nrStopped: u64(3),
  nrUninterruptible: u64(4),
  nrIoWait: u64(5),
});

const MemoryOomControl = message(`${NAME}MemoryOomControl`, {
  oomKillDisable: u64(1),
  underOom: u64(2),
  oomKill: u64(3),
});

export const Metrics = message(`${NAME}Metrics`, {
  hugetlb: list(sub(1, HugetlbStat)),
  pids: sub(2, PidsStat),
  cpu: sub(3, CPUStat),
  memory: sub(4, MemoryStat),
  blkio: sub(5, BlkIOStat),
  rdma: sub(6, RdmaStat),
  network: list(sub(7, NetworkStat)),
  cgroupStats: sub(8, CgroupStats),
  memoryOomControl: sub(9, MemoryOomControl),
});
export type Metrics = MessageOf<typeof Metrics>;
