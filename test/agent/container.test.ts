import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Channel } from '../../src/agent/channel.ts';
import { Containers } from '../../src/agent/containers.ts';
import { Events } from '../../src/agent/events.ts';
import { Loop } from '../../src/agent/loop.ts';
import { Reaper } from '../../src/agent/reaper.ts';
import { SquibError } from '../../src/base/errors.ts';
import { CreateContainerRequest } from '../../src/proto/agent.ts';
import type { Init } from '../../src/proto/codec.ts';
import { type FakeCall, FakeKernel } from '../fake/kernel.ts';

const PORT_FD = 3;
const PID = 500;
const EACCES = 13;
const EBUSY = 16;
const EAGAIN = 11;
const ENOENT = 2;

/** A kernel with two disks that keeps the books: what is open, mounted, made and running. */
class BookKeeper {
  readonly fake = new FakeKernel();
  readonly paths = new Map<number, string>();
  readonly mounts: string[] = [];
  readonly made = new Set<string>();
  killed = false;
  alive = false;
  /** The child's report, in pieces. */
  readonly report: Uint8Array[] = [];
  reportEnded = false;
  reportFd = -1;
  /** Index of the call that fails, and how many there were. */
  victim = -1;
  calls = 0;
  counting = false;
  victimName = '';
  disks: readonly string[] = ['lower', 'upper'];
  #listed = false;
  #pipes = 0;

  constructor() {
    const { fake } = this;
    const sc = fake.sc.bind(fake);
    fake.sc = (nr, ...args) => {
      if (this.counting && this.calls++ === this.victim) {
        this.victimName = [...Object.entries(fake.kernel.table)].find(([, n]) => n === nr)?.[0] ?? '';
        // The kernel never refuses to close what is open.
        if (this.victimName !== 'close') return -EACCES;
      }
      return sc(nr, ...args);
    };
    fake.on('openat', (call) => this.#open(call.texts[1] as string));
    fake.on('close', ({ args: [fd = 0] }) => (this.paths.delete(fd) ? 0 : -9));
    fake.on('pipe2', ({ args: [p = 0] }) => {
      const pair = [this.#open('pipe'), this.#open('pipe')] as const;
      if (this.#pipes++ === 2) this.reportFd = pair[0];
      fake.kernel.w32(p, pair[0]);
      fake.kernel.w32(p + 4, pair[1]);
      return 0;
    });
    fake.on('mount', (call) => {
      this.mounts.push(call.texts[1] as string);
      return 0;
    });
    fake.on('umount2', (call) => {
      const at = this.mounts.lastIndexOf(call.texts[0] as string);
      if (at < 0) return -22;
      this.mounts.splice(at, 1);
      return 0;
    });
    fake.on('mkdirat', (call) => {
      this.made.add(call.texts[1] as string);
      return 0;
    });
    fake.on('unlinkat', (call) => (this.made.delete(call.texts[1] as string) ? 0 : -ENOENT));
    fake.on('getdents64', ({ args: [, p = 0] }) => this.#list(p));
    fake.on('read', (call) => this.#read(call));
    fake.on('clone3', () => {
      this.alive = true;
      return PID;
    });
    fake.on('kill', ({ args: [pid, signal] }) => {
      if (pid === PID && signal === 9) this.killed = true;
      return 0;
    });
    fake.on('waitid', ({ args: [, , p = 0] }) => {
      if (!this.killed || !this.alive) return -10;
      this.alive = false;
      fake.kernel.w32(p + 8, 2);
      fake.kernel.w32(p + 16, PID);
      fake.kernel.w32(p + 24, 9);
      return 0;
    });
  }

  #open(path: string): number {
    const fd = this.fake.fd();
    this.paths.set(fd, path);
    return fd;
  }

  #list(p: number): number {
    this.#listed = !this.#listed;
    if (!this.#listed) return 0;
    const { kernel } = this.fake;
    this.disks.forEach((_, i) => {
      kernel.w16(p + i * 32 + 16, 32);
      const name = new TextEncoder().encode(`sd${String.fromCharCode(97 + i)}\0`);
      kernel.bytes(p + i * 32 + 19, name.length).set(name);
    });
    return this.disks.length * 32;
  }

  #read({ args: [fd = 0, p = 0] }: FakeCall): number {
    const path = this.paths.get(fd) ?? '';
    const give = (bytes: Uint8Array) => {
      this.fake.kernel.bytes(p, bytes.length).set(bytes);
      return bytes.length;
    };
    if (fd === this.reportFd) {
      const piece = this.report.shift();
      return piece === undefined ? (this.reportEnded ? 0 : -EAGAIN) : give(piece);
    }
    const disk = /^\/sys\/block\/sd(.)\/device\/vpd_pg80$/.exec(path)?.[1];
    if (disk === undefined) return path.endsWith('/signals') ? -EAGAIN : 0;
    return give(Uint8Array.from([0, 0x80, 0, 5, ...encode(this.disks[disk.charCodeAt(0) - 97] ?? '')]));
  }

  /** What is held beyond what every agent holds. */
  get held(): string[] {
    const shared = ['/run', '/run/squib', '/run/squib/c/upper/upper', '/run/squib/c/upper/work'];
    const dirs = [...this.made].filter((path) => !shared.includes(path));
    return [...this.paths.values(), ...this.mounts, ...dirs, ...(this.alive ? ['a process'] : [])];
  }
}

function machine() {
  const books = new BookKeeper();
  const { kernel } = books.fake;
  const loop = new Loop(kernel);
  const reaper = new Reaper(kernel, loop);
  const events = new Events();
  const channel = new Channel(kernel, loop, PORT_FD, { accept: () => undefined, lost: () => {} });
  const containers = new Containers({ kernel, loop, reaper, events, channel, prepare: () => {} });
  return { books, loop, reaper, containers, fake: books.fake };
}

function request(change: Init<CreateContainerRequest> = {}): CreateContainerRequest {
  return CreateContainerRequest.decode(
    CreateContainerRequest.encode({
      id: 'c',
      rootfs: { lowerSerial: 'lower', upperSerial: 'upper' },
      process: { args: ['x'], cwd: '/', stdio: { stdinPort: 2000, stdoutPort: 2001 } },
      resources: { memoryMax: 1 << 20, cpuWeight: 5 },
      namespaces: [{ cloneFlag: 0x2000_0000 }],
      ...change,
    }),
  );
}

/** Makes the loop call the handlers of these descriptors. */
function wake({ fake, loop }: ReturnType<typeof machine>, fds: readonly number[]): void {
  fake.once('epoll_pwait', ({ args: [, p = 0] }) => {
    fds.forEach((fd, i) => {
      fake.kernel.w32(p + i * 12, 1);
      fake.kernel.w32(p + i * 12 + 4, fd);
    });
    return fds.length;
  });
  loop.turn(true);
}

/** Creates, lets the child report, and gives the outcome; `undefined` while there is none. */
function create(m: ReturnType<typeof machine>, report: Uint8Array | undefined) {
  const results: (number | SquibError)[] = [];
  try {
    m.containers.create(request(), (result) => results.push(result));
  } catch (thrown) {
    results.push(thrown as SquibError);
  }
  if (results.length === 0 && report !== undefined) {
    m.books.report.push(report);
    m.books.reportEnded = report[0] !== 1;
    wake(m, [m.books.reportFd]);
    m.reaper.reap();
  }
  return results;
}

const READY = Uint8Array.of(1);
const encode = (text: string) => new TextEncoder().encode(text);

test('every call of a creation may fail: an error once, and nothing is held any more', () => {
  const counted = machine();
  counted.books.counting = true;
  assert.deepEqual(create(counted, READY), [PID]);
  const total = counted.books.calls;
  assert.ok(total > 60, `${total} calls`);
  let failed = 0;
  for (let victim = 0; victim < total; victim++) {
    const m = machine();
    m.books.counting = true;
    m.books.victim = victim;
    let results: (number | SquibError)[] = [];
    try {
      results = create(m, READY);
    } catch {
      // A failure in the loop or the reaper itself is the end of the agent, as it must be.
      continue;
    }
    m.books.counting = false;
    if (results[0] === PID) continue;
    const where = `${victim}: ${m.books.victimName}`;
    assert.equal(results.length, 1, where);
    assert.ok(results[0] instanceof SquibError, where);
    failed++;
    m.reaper.reap();
    assert.deepEqual(m.books.held, [], `${where}: ${results[0].message}`);
    assert.throws(() => m.containers.find('c'), /does not exist/);
  }
  assert.ok(failed > 40, `${failed} of ${total} failed`);
});

test("the child's error is the answer, after it is reaped and all is undone", () => {
  const m = machine();
  const [error] = create(m, encode('\x02permission-denied\0mount x on "/y": EPERM'));
  assert.ok(error instanceof SquibError);
  assert.deepEqual([error.code, error.message], ['permission-denied', 'mount x on "/y": EPERM']);
  assert.deepEqual(m.books.held, []);
});

test('a record that comes in pieces is one record', () => {
  const m = machine();
  m.books.report.push(encode('\x02not-fo'), encode('und\0a'));
  const [error] = create(m, encode('bc'));
  assert.ok(error instanceof SquibError);
  assert.deepEqual([error.code, error.message], ['not-found', 'abc']);
});

test('a child that dies without a word', () => {
  const m = machine();
  const results = create(m, undefined);
  m.books.killed = true;
  m.reaper.reap();
  assert.match(String(results[0]), /killed by signal 9 during its set-up/);
  assert.deepEqual(m.books.held, []);
});

test('start, exit, delete: the pipe ends with the execve; everything is given back', () => {
  const m = machine();
  const { books, containers, reaper } = m;
  assert.deepEqual(create(m, READY), [PID]);
  const container = containers.find('c');
  assert.equal(container.state, 'created');
  let started = 0;
  container.start((error) => {
    assert.equal(error, undefined);
    started++;
  });
  assert.equal(container.state, 'starting');
  books.reportEnded = true;
  wake(m, [books.reportFd]);
  assert.deepEqual([started, container.state], [1, 'running']);
  assert.throws(() => containers.delete('c', () => {}), /cannot delete container "c": it is running/);
  container.signal(9, false);
  reaper.reap();
  assert.equal(container.state, 'stopped');
  assert.throws(() => container.signal(9, false), /already finished/);
  let deleted = 0;
  containers.delete('c', (error) => {
    assert.equal(error, undefined);
    deleted++;
  });
  assert.equal(deleted, 1);
  assert.deepEqual(books.held, []);
  assert.throws(() => containers.find('c'), /does not exist/);
});

test('an execve that fails is the answer to the start; the container is stopped, its exit told', () => {
  const m = machine();
  create(m, READY);
  const container = m.containers.find('c');
  const answers: unknown[] = [];
  container.start((error) => answers.push(error));
  m.books.report.push(encode('\x02internal\0exec /x: exec format error'));
  m.books.reportEnded = true;
  wake(m, [m.books.reportFd]);
  m.reaper.reap();
  assert.equal((answers[0] as SquibError).message, 'exec /x: exec format error');
  assert.equal(container.state, 'stopped');
});

test('a delete waits for the disk, and can be asked again when something stays', () => {
  const m = machine();
  create(m, READY);
  m.containers.find('c').signal(9, false);
  m.reaper.reap();
  m.fake.once('umount2', -EBUSY);
  const answers: (SquibError | undefined)[] = [];
  m.containers.delete('c', (error) => answers.push(error));
  assert.match(String(answers[0]), /unmount \/run\/squib\/c\/root.*EBUSY/);
  assert.equal(m.containers.find('c').state, 'stopped');
  m.containers.delete('c', (error) => answers.push(error));
  assert.equal(answers[1], undefined);
});

test('requests that cannot be begun', () => {
  const { containers, books } = machine();
  const refuses = (change: Init<CreateContainerRequest>, code: string, message: RegExp) =>
    assert.throws(
      () => containers.create(request(change), () => assert.fail('begun')),
      (e: { code: string; message: string }) => {
        assert.equal(e.code, code, e.message);
        assert.match(e.message, message);
        return true;
      },
    );
  const process = { args: ['x'], cwd: '/' };
  for (const id of ['', '.', '..', 'a/b', 'a b', 'a\0', 'é', 'x'.repeat(77)]) {
    refuses({ id }, 'invalid-argument', /id is not 1 to 76/);
  }
  refuses({ process: { ...process, args: [] } }, 'invalid-argument', /args is empty/);
  refuses({ process: { ...process, args: [''] } }, 'invalid-argument', /args is empty/);
  refuses({ process: { ...process, cwd: 'x' } }, 'invalid-argument', /cwd "x" is not absolute/);
  refuses({ process: { ...process, cwd: '' } }, 'invalid-argument', /cwd "" is not absolute/);
  refuses({ process: { ...process, terminal: true } }, 'unimplemented', /terminal/);
  refuses({ process: { ...process, seccompFilter: new Uint8Array(7) } }, 'invalid-argument', /sock_filter/);
  refuses({ process: { ...process, stdio: { stdinPort: 1 } } }, 'invalid-argument', /port 1 is below 1024/);
  refuses(
    { process: { ...process, stdio: { stdinPort: 2000, stderrPort: 2000 } } },
    'invalid-argument',
    /2000 is in use/,
  );
  refuses({ rootfs: { lowerSerial: 'x' } }, 'invalid-argument', /upper_serial is empty/);
  refuses({ namespaces: [{ cloneFlag: 128 }] }, 'unimplemented', /0x80/);
  refuses(
    { namespaces: [{ cloneFlag: 0x2000_0000 }, { cloneFlag: 0x2000_0000 }] },
    'invalid-argument',
    /named twice/,
  );
  refuses({ namespaces: [{ cloneFlag: 0x20000, container: 'c' }] }, 'unimplemented', /mount namespace/);
  refuses({ namespaces: [{ cloneFlag: 0x0800_0000, container: 'ghost' }] }, 'not-found', /"ghost"/);
  assert.deepEqual(books.held, []);
});

test('an id and ports in use are refused', () => {
  const m = machine();
  create(m, READY);
  assert.throws(() => m.containers.create(request(), () => {}), { code: 'already-exists' });
  assert.throws(() => m.containers.create(request({ id: 'd' }), () => {}), /port 2000 is in use/);
});
