/** MB/s and round trips through the serial stream. See USAGE. */
import { parseArgs } from 'node:util';
import { inMemory } from './stream/memory.ts';
import { type Row, table } from './stream/row.ts';
import { betweenProcesses } from './stream/socket-pair.ts';
import { throughVm } from './stream/vm.ts';

const USAGE = `usage: bench/stream.ts [--mib N] [--vm-mib N] [--only memory|processes|vm]

Moves N MiB (default 512; 64 through the VM) each way through the serial stream, with a control call every 10 ms
beside it: through two Mux ends in memory, between two processes over a socketpair as the VMM has one, and
through a microVM with the real agent and a container at the other end. Prints a table and one JSON line.`;

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '512' },
    'vm-mib': { type: 'string', default: '64' },
    only: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  console.log(USAGE);
} else {
  const bytes = Number(values.mib) * 1_048_576;
  const vmBytes = Number(values['vm-mib']) * 1_048_576;
  const parts: Record<string, () => Promise<Row[]>> = {
    memory: () => inMemory(bytes),
    processes: () => betweenProcesses(bytes),
    vm: () => throughVm(vmBytes),
  };
  const rows: Row[] = [];
  for (const [name, run] of Object.entries(parts)) {
    if (values.only === undefined || values.only === name) rows.push(...(await run()));
  }
  console.log(table(rows));
  console.log(JSON.stringify({ bench: 'stream', node: process.version, mib: bytes / 1_048_576, rows }));
}
