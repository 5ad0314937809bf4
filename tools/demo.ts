/** The part of tools/demo after set-up, build and install: `node tools/demo.ts RUNTIME`. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, SquibError } from '../src/base/errors.ts';
import { type Containerd, type CtrOptions, type CtrResult, startContainerd } from '../test/e2e/containerd.ts';
import { processesUsing } from '../test/e2e/host-state.ts';
import { BUSYBOX_IMAGE } from './busybox-image.ts';

const say = (line: string) => console.log(`demo: ${line}`);
const indent = (text: string) => text.trimEnd().replace(/^/gm, '    | ');

/** A TCG boot takes seconds; a demo that shows nothing for longer has failed. */
const RUN_MS = 60_000;

/** The same questions to the host and to a container. */
const LOOK = 'uname -a; echo "process 1: $(cat /proc/1/comm)"; grep MemTotal /proc/meminfo';

/**
 * The container has a PID namespace of its own, so its /proc shows its own process 1. The scheduler's table
 * shows that of the whole kernel, and dmesg its boot; in a microVM both are the VM's, so root may look.
 */
const LOOK_BELOW = [
  'mount -t debugfs debugfs /sys/kernel/debug',
  'echo "process 1 of the VM: $(awk \'length($1) == 1 && $3 == 1 { print $2; exit }\' /sys/kernel/debug/sched/debug)"',
  'dmesg | grep -m 2 -E "Linux version|Run /init"',
].join('\n');

class Demo {
  readonly #containerd: Containerd;
  readonly #runtime: string;
  #runs = 0;

  constructor(containerd: Containerd, runtime: string) {
    this.#containerd = containerd;
    this.#runtime = runtime;
  }

  /** One `ctr run --rm`, its command line and its output shown. */
  async run(
    flags: readonly string[],
    command: readonly string[],
    options: CtrOptions = {},
  ): Promise<CtrResult> {
    const args = [
      'run',
      '--rm',
      '--runtime',
      this.#runtime,
      ...flags,
      BUSYBOX_IMAGE,
      `demo-${++this.#runs}`,
      ...command,
    ];
    const quoted = args
      .map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`))
      .join(' ');
    console.log(`\n    $ ${stdinOf(options)}ctr ${quoted}`);
    const started = performance.now();
    const result = await this.#containerd.ctr(args, { timeoutMs: RUN_MS, ...options });
    console.log(indent(result.stdout + result.stderr));
    console.log(`    exit status ${result.code}, ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return result;
  }

  async otherKernel(): Promise<void> {
    say('the host:');
    console.log(indent(execFileSync('sh', ['-c', LOOK]).toString()));
    say('a container, the same questions, and what lies below it:');
    const flags = ['--cap-add', 'CAP_SYS_ADMIN', '--cap-add', 'CAP_SYSLOG'];
    const { code, stdout } = await this.run(flags, ['sh', '-c', `${LOOK}\n${LOOK_BELOW}`]);
    expect(stdout.startsWith('Linux '), `output of uname, exit status ${code}`);
    const kernel = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
    say(
      stdout.includes(` ${kernel} `)
        ? `it runs on the host's kernel ${kernel}`
        : 'it runs on a kernel of its own',
    );
  }

  async exitStatus(): Promise<void> {
    say('an exit status comes back:');
    const { code } = await this.run([], ['sh', '-c', 'echo "this one ends with 42"; exit 42']);
    expect(code === 42, `exit status 42, got ${code}`);
  }

  async pipe(): Promise<void> {
    say('stdin is piped through:');
    const stdin = 'one\ntwo\nthree\n';
    const script = 'tr a-z A-Z; echo "and stdin has ended"';
    const { code, stdout } = await this.run([], ['sh', '-c', script], { stdin, endStdinOn: 'THREE\n' });
    const expected = 'ONE\nTWO\nTHREE\nand stdin has ended\n';
    expect(code === 0 && stdout === expected, `the three lines in capitals, got ${stdout}`);
  }
}

function stdinOf({ stdin }: CtrOptions): string {
  return stdin === undefined ? '' : `printf '${String(stdin).replaceAll('\n', '\\n')}' | `;
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new SquibError('internal', `expected ${what}`);
}

async function main(runtime: string): Promise<void> {
  say('3 of 4: starting a containerd of its own, with an image made from busybox-static');
  const containerd = await startContainerd();
  const stop = (signal: NodeJS.Signals) => {
    say(`${signal}: cleaning up`);
    void containerd.close().finally(() => process.exit(1));
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  say(`containerd ${containerd.pid} in ${containerd.dir}, image ${BUSYBOX_IMAGE}`);
  try {
    say(`4 of 4: running containers with ${runtime}`);
    const demo = new Demo(containerd, runtime);
    await demo.otherKernel();
    await demo.exitStatus();
    await demo.pipe();
  } catch (thrown) {
    if (!(thrown instanceof SquibError && thrown.code === 'deadline-exceeded'))
      console.error(
        `\ncontainerd and its shims said last:\n${indent(containerd.log().split('\n').slice(-25).join('\n'))}`,
      );
    throw thrown;
  } finally {
    await containerd.close();
  }
  const left = processesUsing(containerd.dir);
  expect(left.length === 0, `no process left, found ${left.map(({ command }) => command).join('; ')}`);
  say('done: containerd is stopped, its directory deleted, no process of it is left');
}

try {
  await main(process.argv[2] ?? 'io.containerd.squib.v1');
} catch (thrown) {
  console.error(`demo: error: ${describe(thrown)}`);
  process.exitCode = 1;
}
