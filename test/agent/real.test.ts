import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { container, missing, RealGuest } from './real-guest.ts';

const skip = missing();
let guest: RealGuest;
let lower: string;
let serial = 0;

/** A fresh writable disk for one container. */
const upper = () => guest.upper();
const id = () => `c${serial++}`;

async function prepareLower(root: string): Promise<void> {
  await writeFile(join(root, 'bin/not-executable'), 'x');
  await writeFile(join(root, 'bin/no-interpreter'), '#!/does/not/exist\n', { mode: 0o755 });
  await writeFile(join(root, 'bin/no-format'), Buffer.from([0, 1, 2, 3]), { mode: 0o755 });
  await writeFile(join(root, 'etc/marker'), 'from the image');
  await symlink('/outside/of/root', join(root, 'dangling'));
  await symlink('../../../../../../etc', join(root, 'tmp/up'));
  await mkdir(join(root, 'only-root'), { mode: 0o700 });
}

before(async () => {
  if (skip) return;
  guest = await RealGuest.boot();
  await guest.call('Configure', {
    timeSeconds: 1_800_000_000,
    timeNanos: 5,
    entropy: randomBytes(64),
    hostname: 'vm-name',
  });
  lower = await guest.lower(prepareLower);
});
after(async () => {
  await guest?.close();
});

/** Runs a shell command in a new container and deletes it. */
async function run(
  command: string | readonly string[],
  change: (c: ReturnType<typeof container>) => ReturnType<typeof container> = (c) => c,
  stdin?: Uint8Array,
) {
  const name = id();
  const disk = await upper();
  const result = await guest.run(name, change(container(lower, disk, command)), stdin);
  await guest.call('DeleteContainer', { container: name });
  await guest.vm.removeDrive(disk);
  return result;
}

test('errors come first', { skip, concurrency: false }, async (t) => {
  const create = async (
    change: (c: ReturnType<typeof container>) => unknown,
    command: string | string[] = 'true',
  ) =>
    guest.call('CreateContainer', {
      id: id(),
      ...(change(container(lower, await upper(), command)) as object),
    });
  const refuses = (what: string, code: string, message: RegExp, run: () => Promise<unknown>) =>
    t.test(what, () =>
      assert.rejects(run, (e: { code: string; message: string }) => {
        assert.equal(e.code, code, e.message);
        assert.match(e.message, message);
        return true;
      }),
    );

  await refuses(
    'a command that is not in PATH',
    'not-found',
    /^exec: "nope": executable file not found in \$PATH$/,
    () => create((c) => c, ['nope']),
  );
  await refuses(
    'a path that does not exist',
    'not-found',
    /^exec: "\/bin\/nope": stat \/bin\/nope: no such file or directory$/,
    () => create((c) => c, ['/bin/nope']),
  );
  await refuses(
    'a file that is not executable',
    'permission-denied',
    /^exec: "\/bin\/not-executable": permission denied$/,
    () => create((c) => c, ['/bin/not-executable']),
  );
  await refuses('a mount type that the kernel lacks', 'internal', /mount nosuchfs on "\/x": .*ENODEV/, () =>
    create((c) => ({
      ...c,
      mounts: [...(c.mounts ?? []), { destination: '/x', type: 'nosuchfs', source: 'x' }],
    })),
  );
  await refuses('a relative mount destination', 'invalid-argument', /"x" is not absolute/, () =>
    create((c) => ({ ...c, mounts: [{ destination: 'x', type: 'tmpfs', source: 'x' }] })),
  );
  await refuses(
    'a working directory below a file',
    'not-found',
    /working directory "\/etc\/passwd\/x".*ENOTDIR/,
    () => create((c) => ({ ...c, process: { ...c.process, cwd: '/etc/passwd/x' } })),
  );
  await refuses('an unknown cgroup file', 'not-found', /write "1" to memory\.nope/, () =>
    create((c) => ({ ...c, resources: { unified: [{ key: 'memory.nope', value: '1' }] } })),
  );
  await refuses('a sysctl that does not exist', 'not-found', /set sysctl net\.nope to "1".*ENOENT/, () =>
    create((c) => ({ ...c, readonlyPaths: [], sysctls: [{ key: 'net.nope', value: '1' }] })),
  );
  await refuses('a user namespace', 'unimplemented', /0x10000000/, () =>
    create((c) => ({ ...c, namespaces: [{ cloneFlag: 0x1000_0000 }] })),
  );
  await refuses('the namespace of a container that is not there', 'not-found', /"ghost"/, () =>
    create((c) => ({ ...c, namespaces: [{ cloneFlag: 0x0800_0000, container: 'ghost' }] })),
  );
  await refuses('a broken seccomp filter', 'invalid-argument', /seccomp.*EINVAL/, () =>
    create((c) => ({
      ...c,
      process: { ...c.process, noNewPrivileges: false, seccompFilter: new Uint8Array(8).fill(255) },
    })),
  );
  await refuses(
    'a memory limit that kills the set-up',
    'internal',
    /killed by signal 9 during its set-up|ENOMEM/,
    () => create((c) => ({ ...c, resources: { memoryMax: 4096 } })),
  );
  await refuses('an unknown container', 'not-found', /"ghost" does not exist/, () =>
    guest.call('StartProcess', { container: 'ghost' }),
  );
  await refuses('an unknown method', 'unimplemented', /Nope/, () =>
    guest.client.call('squib.agent.v1.Agent', 'Nope', ...voidCodecs(), {}),
  );

  await t.test('and nothing is left of any', async () => {
    const { stdout } = await run('cat /proc/self/mountinfo | wc -l; ls /sys/fs/cgroup');
    const mounts = Number(stdout.split('\n')[0]);
    assert.ok(mounts > 5 && mounts < 40, stdout);
    const left = await guest.run(
      id(),
      agentView(await upper(), 'ls /agent/sys/fs/cgroup | grep -c "^c[0-9]"; ls /agent/run/squib'),
    );
    assert.equal(left.stdout, `1\nc${serial - 1}\n`, left.stdout + left.stderr);
  });
});

function voidCodecs() {
  const codec = { name: 'x', encode: () => new Uint8Array(0), decode: () => ({}), fields: {} };
  return [codec, codec] as const;
}

/** A container that sees the agent's own root under /agent. */
function agentView(upperSerial: string, command: string) {
  const c = container(lower, upperSerial, command);
  const bind = { destination: '/agent', type: 'bind', source: '/', flags: 4096 + 16384 };
  return { ...c, mounts: [...(c.mounts ?? []), bind], namespaces: [{ cloneFlag: 0x0002_0000 }] };
}

test('the process is what the spec says', { skip, concurrency: false }, async (t) => {
  await t.test('own namespaces, host name, pid 1', async () => {
    const { stdout, status } = await run('echo $$; hostname; ps | wc -l; exit 7', (c) => ({
      ...c,
      hostname: 'inside',
    }));
    assert.match(stdout, /^1\ninside\n/);
    assert.equal(status, 7);
  });
  await t.test('a signal ends it as 128 + n', async () => {
    const { status } = await run('kill -TERM $$; sleep 9', (c) => ({
      ...c,
      namespaces: [{ cloneFlag: 0x0002_0000 }],
    }));
    assert.equal(status, 143);
  });
  await t.test('user, groups, umask, HOME, no capabilities kept', async () => {
    const { stdout } = await run(
      'id; umask; echo $HOME; grep -E "Cap|NoNew|Seccomp:" /proc/self/status',
      (c) => ({
        ...c,
        process: {
          ...c.process,
          user: { uid: 1000, gid: 1001, additionalGids: [5, 6], umask: 0o027, hasUmask: true },
          capabilities: { bounding: 0x400 },
        },
      }),
    );
    assert.match(stdout, /uid=1000\(user\) gid=1001 groups=5,6/);
    assert.match(stdout, /\n0027\n\/home\/user\n/);
    assert.match(
      stdout,
      /CapInh:\t0{16}\nCapPrm:\t0{16}\nCapEff:\t0{16}\nCapBnd:\t0{13}400\nCapAmb:\t0{16}\nNoNewPrivs:\t1/,
    );
  });
  await t.test('ambient capabilities reach an unprivileged user', async () => {
    const { stdout } = await run('grep Cap /proc/self/status', (c) => ({
      ...c,
      process: {
        ...c.process,
        user: { uid: 1000, gid: 1000 },
        capabilities: {
          bounding: 0x400,
          effective: 0x400,
          permitted: 0x400,
          inheritable: 0x400,
          ambient: 0x400,
        },
      },
    }));
    assert.match(stdout, /CapEff:\t0{13}400\n/);
    assert.match(stdout, /CapAmb:\t0{13}400\n/);
  });
  await t.test('rlimits, oom score, session', async () => {
    const { stdout } = await run(
      'ulimit -n; ulimit -c; cat /proc/self/oom_score_adj; cat /proc/self/stat',
      (c) => ({
        ...c,
        process: {
          ...c.process,
          oomScoreAdj: 321,
          rlimits: [
            { resource: 7, soft: 77, hard: 78 },
            { resource: 4, soft: 2n ** 64n - 1n, hard: 2n ** 64n - 1n },
          ],
        },
      }),
    );
    assert.match(stdout, /^77\nunlimited\n321\n/);
  });
  await t.test('a working directory is made; one only root may enter is entered', async () => {
    const there = await run('echo $PWD; stat -c %a .', (c) => ({
      ...c,
      process: { ...c.process, cwd: '/new/deep' },
    }));
    assert.equal(there.stdout, '/new/deep\n755\n');
    const closed = await run(['/bin/readlink', '/proc/self/cwd'], (c) => ({
      ...c,
      process: { ...c.process, cwd: '/only-root', user: { uid: 1000, gid: 1000 } },
    }));
    assert.equal(closed.stdout, '/only-root\n');
  });
  await t.test('seccomp: one syscall refused, others not', async () => {
    // ld nr; jeq kill -> errno EPERM; allow
    const filter = new Uint8Array(
      new Uint16Array([0x20, 0, 0, 0, 0x15, 0x100, 62, 0, 6, 0, 1, 5, 6, 0, 0, 0x7fff]).buffer,
    );
    for (const noNewPrivileges of [true, false]) {
      const { stdout, stderr } = await run(
        'kill -0 $$ || echo refused; grep Seccomp: /proc/self/status',
        (c) => ({
          ...c,
          process: { ...c.process, noNewPrivileges, seccompFilter: filter },
        }),
      );
      assert.equal(stdout, 'refused\nSeccomp:\t2\n', stderr);
    }
  });
  await t.test('descriptors: only stdio', async () => {
    const { stdout } = await run(['/bin/ls', '/proc/self/fd']);
    assert.equal(stdout, '0\n1\n2\n3\n');
  });
  await t.test('execve failures come from StartProcess', async () => {
    for (const [file, words] of [
      ['/bin/no-interpreter', /no such file or directory/],
      ['/bin/no-format', /exec format error/],
    ] as const) {
      const name = id();
      await guest.call('CreateContainer', { ...container(lower, await upper(), [file]), id: name });
      await assert.rejects(guest.call('StartProcess', { container: name }), words);
      await guest.exit(name);
      await guest.call('DeleteContainer', { container: name });
    }
  });
});

test('file system and mounts', { skip, concurrency: false }, async (t) => {
  await t.test('overlay: the image is there, writable, with its root mode', async () => {
    const { stdout } = await run(
      'cat /etc/marker; echo new > /etc/marker; cat /etc/marker; stat -c %a /; ls /',
    );
    assert.match(stdout, /^from the imagenew\n755\n/);
    assert.doesNotMatch(stdout, /lost\+found/);
  });
  await t.test('the scratch is a clean ext4 after delete', async () => {
    const disk = await upper();
    const name = id();
    await guest.run(name, container(lower, disk, 'echo kept > /kept'));
    await guest.call('DeleteContainer', { container: name });
    await guest.vm.removeDrive(disk);
    const image = join(guest.dir, `upper-${disk.slice(4)}.ext4`);
    execFileSync('e2fsck', ['-fn', image]);
    assert.equal(
      execFileSync('debugfs', ['-R', 'cat /upper/kept', image], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }).toString(),
      'kept\n',
    );
  });
  await t.test('read-only root', async () => {
    const { stdout, stderr } = await run('touch /x; touch /dev/shm/y && echo fine', (c) => ({
      ...c,
      rootfs: { ...c.rootfs, readonly: true },
    }));
    assert.match(stderr, /touch: \/x: Read-only file system/);
    assert.equal(stdout, 'fine\n');
  });
  await t.test('an upper disk alone is the root', async () => {
    const name = id();
    const root = await guest.lower();
    const { stdout } = await guest
      .run(name, { ...container('', root, 'echo alone') })
      .catch((e: Error) => ({ stdout: e.message }));
    // A read-only disk cannot be mounted for writing: the error says so.
    assert.match(stdout, /mount disk .*(EROFS|EACCES)/);
  });
  await t.test('/dev: devices, links, ptmx', async () => {
    const { stdout } = await run(
      'cd /dev; stat -c "%n %F %t:%T %a" null zero full random urandom tty; for l in fd stdin stdout stderr ptmx; do readlink $l; done; echo x > null; head -c 2 zero | wc -c',
    );
    assert.equal(stdout.split('\n')[0], 'null character special file 1:3 666');
    assert.match(stdout, /urandom character special file 1:9 666/);
    assert.match(
      stdout,
      /\/proc\/self\/fd\n\/proc\/self\/fd\/0\n\/proc\/self\/fd\/1\n\/proc\/self\/fd\/2\npts\/ptmx\n2\n$/,
    );
  });
  await t.test('a device of the spec', async () => {
    const { stdout } = await run('stat -c "%F %t:%T %a %u:%g" /dev/own/thing', (c) => ({
      ...c,
      devices: [{ path: '/dev/own/thing', mode: 0o20640, major: 1, minor: 7, uid: 4, gid: 5 }],
    }));
    assert.equal(stdout, 'character special file 1:7 640 4:5\n');
  });
  await t.test('masked and read-only paths', async () => {
    const { stdout, stderr } = await run(
      'cat /proc/kcore | wc -c; ls /sys/firmware | wc -l; echo 1 > /proc/sys/vm/swappiness; echo $?',
    );
    assert.equal(stdout, '0\n0\n1\n');
    assert.match(stderr, /Read-only/);
  });
  await t.test('a mount through symlinks stays inside the root', async () => {
    const tmpfs = (destination: string) => ({ destination, type: 'tmpfs', source: 'tmpfs' });
    const { stdout } = await run(
      'grep " tmpfs " /proc/self/mounts | grep -vE "/(dev|proc|sys|run)"; ls -d /outside/of/root/x',
      (c) => ({
        ...c,
        mounts: [...(c.mounts ?? []), tmpfs('/dangling/x'), tmpfs('/tmp/up/inner')],
      }),
    );
    assert.match(stdout, /^tmpfs \/outside\/of\/root\/x tmpfs/);
    assert.match(stdout, /\ntmpfs \/etc\/inner tmpfs/);
  });
  await t.test('bind mounts of a file and of a directory, read-only', async () => {
    const bind = (source: string, destination: string, flags: number) => ({
      source,
      destination,
      type: 'bind',
      flags,
    });
    const { stdout, stderr } = await run(
      'cat /etc/release-of-vm; touch /vmrun/x; echo > /etc/release-of-vm',
      (c) => ({
        ...c,
        mounts: [
          ...(c.mounts ?? []),
          bind('/proc/sys/kernel/osrelease', '/etc/release-of-vm', 4096 + 1),
          bind('/run', '/vmrun', 4096 + 16384 + 1),
        ],
      }),
    );
    assert.match(stdout, /^6\./);
    assert.match(stderr, /touch: \/vmrun\/x: Read-only/);
  });
  await t.test('nothing of the VM is left in sight', async () => {
    const { stdout } = await run('cat /proc/self/mountinfo; ls /proc/1/root/');
    assert.doesNotMatch(stdout, / - ext4 |virtio-ports|modules/);
  });
  await t.test('sysctls, own cgroup as root, clock', async () => {
    const { stdout } = await run(
      'cat /proc/sys/kernel/msgmax; cat /proc/self/cgroup; cat /sys/fs/cgroup/pids.max; date +%s',
      (c) => ({
        ...c,
        sysctls: [{ key: 'kernel.msgmax', value: '9999' }],
        resources: { pidsMax: 50 },
      }),
    );
    const [msgmax, cgroup, pids, clock] = stdout.split('\n');
    assert.deepEqual([msgmax, cgroup, pids], ['9999', '0::/', '50']);
    assert.ok(Number(clock) >= 1_800_000_000 && Number(clock) < 1_800_003_000, stdout);
  });
});

test('stdio', { skip, concurrency: false }, async (t) => {
  const hash = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');
  await t.test('stdin, stdout, stderr; end of stdin', async () => {
    const { stdout, stderr } = await run('cat; echo err >&2', undefined, Buffer.from('in'));
    assert.deepEqual([stdout, stderr], ['in', 'err\n']);
  });
  await t.test('8 MiB in, its hash out', async () => {
    const bytes = randomBytes(8 << 20);
    assert.equal((await run('md5sum', undefined, bytes)).stdout.slice(0, 32), hash(bytes));
  });
  await t.test('16 MiB out, while control is answered', async () => {
    const name = id();
    const port = guest.port();
    const c = container(lower, await upper(), 'yes 0123456789abcde | head -c 16777216');
    await guest.call('CreateContainer', {
      ...c,
      id: name,
      process: { ...c.process, stdio: { stdoutPort: port } },
    });
    const output = guest.read(port);
    await guest.call('StartProcess', { container: name });
    let slowest = 0;
    let done = false;
    const asking = (async () => {
      while (!done) {
        const from = performance.now();
        await guest.call('Pids', { container: name });
        slowest = Math.max(slowest, performance.now() - from);
      }
    })();
    const bytes = await output;
    done = true;
    await asking;
    assert.equal(hash(bytes), hash(Buffer.from('0123456789abcde\n'.repeat(1 << 20))));
    assert.ok(slowest < 2000, `the slowest Pids took ${slowest} ms`);
    await guest.exit(name);
    await guest.call('DeleteContainer', { container: name });
  });
  await t.test('output waits for a host that connects late, and survives the process', async () => {
    const name = id();
    const port = guest.port();
    const c = container(lower, await upper(), 'echo early');
    await guest.call('CreateContainer', {
      ...c,
      id: name,
      process: { ...c.process, stdio: { stdoutPort: port } },
    });
    await guest.call('StartProcess', { container: name });
    await guest.exit(name);
    assert.equal((await guest.read(port)).toString(), 'early\n');
    await guest.call('DeleteContainer', { container: name });
  });
  await t.test('a reset stdout is EPIPE for the writer', async () => {
    const name = id();
    const port = guest.port();
    const c = container(lower, await upper(), ['/bin/yes']);
    await guest.call('CreateContainer', {
      ...c,
      id: name,
      process: { ...c.process, stdio: { stdoutPort: port } },
    });
    const stream = guest.host.connect(port);
    stream.on('error', () => {});
    await guest.call('StartProcess', { container: name });
    stream.destroy();
    assert.notEqual(await guest.exit(name), 0);
    await guest.call('DeleteContainer', { container: name });
  });
  await t.test('a process that closes stdin resets the stream', async () => {
    const name = id();
    const port = guest.port();
    const c = container(lower, await upper(), 'exec 0<&-; sleep 1');
    await guest.call('CreateContainer', {
      ...c,
      id: name,
      process: { ...c.process, stdio: { stdinPort: port } },
    });
    const stream = guest.host.connect(port);
    const failed = new Promise((resolve) => stream.on('error', resolve));
    await guest.call('StartProcess', { container: name });
    assert.match(String(await failed), /cut/);
    await guest.exit(name);
    await guest.call('DeleteContainer', { container: name });
  });
  await t.test('a port that nobody listens on refuses', async () => {
    await assert.rejects(guest.read(60_000), /nobody listens/);
  });
});

test('life of a container', { skip, concurrency: false }, async (t) => {
  await t.test('verbs in the wrong state', async () => {
    const name = id();
    await guest.call('CreateContainer', { ...container(lower, await upper(), 'sleep 100'), id: name });
    await assert.rejects(
      guest.call('CreateContainer', { ...container(lower, 'x', 'true'), id: name }),
      /exists already/,
    );
    await guest.call('StartProcess', { container: name });
    await assert.rejects(
      guest.call('StartProcess', { container: name }),
      /cannot start container .* is running/,
    );
    await assert.rejects(
      guest.call('DeleteContainer', { container: name }),
      /cannot delete container .* is running/,
    );
    assert.equal((await guest.call('Pids', { container: name })).pids.length, 1);
    await guest.call('SignalProcess', { container: name, signal: 9 });
    assert.equal(await guest.exit(name), 137);
    await assert.rejects(guest.call('SignalProcess', { container: name, signal: 9 }), /already finished/);
    await assert.rejects(guest.call('StartProcess', { container: name }), /is stopped/);
    await guest.call('DeleteContainer', { container: name });
    await assert.rejects(guest.call('Pids', { container: name }), /does not exist/);
  });
  await t.test('a created container can be deleted, or killed', async () => {
    const name = id();
    await guest.call('CreateContainer', { ...container(lower, await upper(), 'true'), id: name });
    await guest.call('DeleteContainer', { container: name });
    const other = id();
    await guest.call('CreateContainer', { ...container(lower, await upper(), 'true'), id: other });
    await guest.call('SignalProcess', { container: other, signal: 15 });
    assert.equal(await guest.exit(other), 137);
    await guest.call('DeleteContainer', { container: other });
  });
  await t.test('all: every process gets the signal; without a pid namespace none survives init', async () => {
    const name = id();
    const c = container(lower, await upper(), 'sleep 100 & sleep 100 & echo up; exec sleep 100');
    const port = guest.port();
    await guest.call('CreateContainer', {
      ...c,
      id: name,
      namespaces: [{ cloneFlag: 0x0002_0000 }],
      process: { ...c.process, stdio: { stdoutPort: port } },
    });
    const output = guest.read(port);
    await guest.call('StartProcess', { container: name });
    while ((await guest.call('Pids', { container: name })).pids.length < 3);
    await guest.call('SignalProcess', { container: name, signal: 15, all: true });
    assert.equal(await guest.exit(name), 143);
    assert.match((await output).toString(), /^(up\n)?$/);
    await guest.call('DeleteContainer', { container: name });
  });
  await t.test('out of memory: the event comes before the exit', async () => {
    const name = id();
    const c = container(lower, await upper(), 'dd if=/dev/zero of=/dev/null bs=60M count=1');
    await guest.call('CreateContainer', { ...c, id: name, resources: { memoryMax: 24 << 20 } });
    await guest.call('StartProcess', { container: name });
    assert.equal(await guest.exit(name), 137);
    const mine = guest.events.filter((e) => e.outOfMemory?.container === name || e.exit?.container === name);
    assert.ok(mine[0]?.outOfMemory !== undefined && mine.at(-1)?.exit !== undefined, JSON.stringify(mine));
    await guest.call('DeleteContainer', { container: name });
  });
  await t.test('stats', async () => {
    const name = id();
    const c = container(lower, await upper(), 'sleep 100');
    await guest.call('CreateContainer', { ...c, id: name, resources: { pidsMax: 9 } });
    await guest.call('StartProcess', { container: name });
    const stats = await guest.call('Stats', { container: name });
    assert.equal(stats.pidsMax, 9);
    assert.equal(stats.pidsCurrent, 1);
    assert.equal(stats.memoryMax, 2 ** 64);
    assert.ok(stats.memoryCurrent > 0);
    assert.ok((stats.cpuStat.find(({ key }) => key === 'usage_usec')?.value ?? 0) > 0);
    await guest.call('SignalProcess', { container: name, signal: 9 });
    await guest.exit(name);
    await guest.call('DeleteContainer', { container: name });
  });
  await t.test('two containers share pid, ipc and uts namespaces', async () => {
    const first = id();
    const c = container(lower, await upper(), 'exec sleep 4321');
    await guest.call('CreateContainer', { ...c, id: first, hostname: 'shared' });
    await guest.call('StartProcess', { container: first });
    const joined = await guest.run(id(), {
      ...container(lower, await upper(), 'hostname; ps; echo pid $$'),
      namespaces: [
        { cloneFlag: 0x2000_0000, container: first },
        { cloneFlag: 0x0800_0000, container: first },
        { cloneFlag: 0x0400_0000, container: first },
        { cloneFlag: 0x0002_0000 },
      ],
    });
    assert.match(joined.stdout, /^shared\n/);
    assert.match(joined.stdout, / sleep 4321/);
    assert.doesNotMatch(joined.stdout, /pid 1$/);
    await guest.call('SignalProcess', { container: first, signal: 9 });
    await guest.exit(first);
  });
  await t.test('a disk that never comes', async () => {
    await assert.rejects(
      guest.call('CreateContainer', { ...container(lower, 'no-such-disk', 'true'), id: id() }),
      /no disk with serial "no-such-disk" within 10000 ms; there are: .*disk0/,
    );
  });
});

test('thirty containers, good and bad: no descriptor, memory or zombie is left', { skip }, async () => {
  const probe = async () => {
    const name = id();
    const { stdout } = await guest.run(
      name,
      agentView(
        await upper(),
        'ls /agent/proc/1/fd | wc -l; grep RssAnon /agent/proc/1/status; ps -o stat | grep -c Z; ls /agent/run/squib | wc -l',
      ),
    );
    await guest.call('DeleteContainer', { container: name });
    const [fds, rss, zombies, roots] = stdout
      .split('\n')
      .map((line) => Number.parseInt(line.replace(/\D+/g, ''), 10));
    return { fds, rss, zombies, roots };
  };
  const before = await probe();
  for (let i = 0; i < 15; i++) {
    assert.equal((await run('echo $$; exit 3', undefined, Buffer.from('x'))).status, 3);
    const disk = await upper();
    const bad = container(lower, disk, ['nope']);
    await assert.rejects(guest.call('CreateContainer', { ...bad, id: id() }), /not found/);
    // What a failed creation had mounted is given back too, or the disk could not go.
    await guest.vm.removeDrive(disk);
  }
  const now = await probe();
  assert.deepEqual({ ...now, rss: 0 }, { ...before, rss: 0 });
  assert.ok(
    (now.rss ?? 0) - (before.rss ?? 0) < 200,
    `private memory went from ${before.rss} to ${now.rss} kB`,
  );
});

test('the end of the VM', { skip, concurrency: false }, async (t) => {
  await t.test('Shutdown with containers running answers, and QEMU ends', async () => {
    const name = id();
    await guest.call('CreateContainer', { ...container(lower, await upper(), 'sleep 100'), id: name });
    await guest.call('StartProcess', { container: name });
    await guest.call('Shutdown', {});
    await guest.vm.exited;
  });
  await t.test('a closed wire ends the VM', async () => {
    const other = await RealGuest.boot({ memSizeMib: 128 });
    other.host.close();
    await other.vm.exited;
    await other.close();
  });
});
