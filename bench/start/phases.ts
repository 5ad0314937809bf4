/** The shim's timeline of one container: station → milliseconds since its Node process began. */
export type Marks = Readonly<Record<string, number>>;

/** One `ctr run`, in milliseconds of the host's clock. */
export interface Run {
  readonly begun: number;
  readonly ended: number;
  readonly marks: Marks;
}

/** A stretch of the way; `beside`: it runs while another one does, so it is no part of the sum. */
interface Phase {
  readonly name: string;
  readonly beside?: boolean;
  readonly ms: (run: Run) => number;
}

const between =
  (from: string, to: string) =>
  ({ marks }: Run) =>
    (marks[to] ?? 0) - (marks[from] ?? 0);

/** Where the time of `ctr run --rm … true` goes, in the order of the way. */
export const PHASES: readonly Phase[] = [
  { name: 'ctr, containerd, launcher before Node', ms: ({ begun, marks }) => (marks['origin'] ?? 0) - begun },
  { name: 'Node until `start` is answered', ms: ({ marks }) => marks['answered'] ?? 0 },
  { name: 'containerd until Create', beside: true, ms: between('answered', 'create') },
  { name: 'image and scratch', beside: true, ms: between('create', 'image') },
  { name: 'VMM: jail, exec, commands taken', ms: between('answered', 'vmm') },
  {
    name: 'VM: firmware, kernel loading',
    ms: (run) =>
      between('vmm', 'hello')(run) - (run.marks['guest:kernel'] ?? 0) - (run.marks['guest:agent'] ?? 0),
  },
  { name: 'guest: kernel until its first program', ms: ({ marks }) => marks['guest:kernel'] ?? 0 },
  { name: 'guest: agent until HELLO', ms: ({ marks }) => marks['guest:agent'] ?? 0 },
  { name: 'Configure, events', ms: between('hello', 'configured') },
  { name: 'disks plugged (or image awaited)', ms: between('configured', 'plugged') },
  { name: 'guest: container set-up', ms: between('plugged', 'created') },
  { name: 'containerd until Start', ms: between('created', 'start') },
  { name: 'Start', ms: between('start', 'started') },
  { name: 'the process, its exit reported', ms: between('started', 'exit') },
  { name: 'containerd until Delete', ms: between('exit', 'delete') },
  { name: 'guest: unmount', ms: between('delete', 'unmounted') },
  { name: 'VMM ends, events flushed', ms: between('unmounted', 'shutdown') },
  {
    name: 'containerd, `delete`, ctr',
    ms: ({ ended, marks }) => ended - (marks['origin'] ?? 0) - (marks['shutdown'] ?? 0),
  },
];

export const wall = ({ begun, ended }: Run): number => ended - begun;
