import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, skip, useBed } from './real-bed.ts';
import { container } from './real-guest.ts';

useBed();

test('errors come first', { skip, concurrency: false }, async (t) => {
  const create = async (
    change: (c: ReturnType<typeof container>) => unknown,
    command: string | string[] = 'true',
  ) =>
    bed.guest.call('CreateContainer', {
      id: bed.id(),
      ...(change(container(bed.lower, await bed.upper(), command)) as object),
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
    bed.guest.call('StartProcess', { container: 'ghost' }),
  );
  await refuses('an unknown method', 'unimplemented', /Nope/, () =>
    bed.guest.client.call('squib.agent.v1.Agent', 'Nope', ...voidCodecs(), {}),
  );

  await t.test('and nothing is left of any', async () => {
    const { stdout } = await bed.run('cat /proc/self/mountinfo | wc -l; ls /sys/fs/cgroup');
    const mounts = Number(stdout.split('\n')[0]);
    assert.ok(mounts > 5 && mounts < 40, stdout);
    const left = await bed.guest.run(
      bed.id(),
      bed.agentView(await bed.upper(), 'ls /agent/sys/fs/cgroup | grep -c "^c[0-9]"; ls /agent/run/squib'),
    );
    assert.equal(left.stdout, `1\n${bed.lastId()}\n`, left.stdout + left.stderr);
  });
});

function voidCodecs() {
  const codec = { name: 'x', encode: () => new Uint8Array(0), decode: () => ({}), fields: {} };
  return [codec, codec] as const;
}

test('the process is what the spec says', { skip, concurrency: false }, async (t) => {
  await t.test('own namespaces, host name, pid 1', async () => {
    const { stdout, status } = await bed.run('echo $$; hostname; ps | wc -l; exit 7', (c) => ({
      ...c,
      hostname: 'inside',
    }));
    assert.match(stdout, /^1\ninside\n/);
    assert.equal(status, 7);
  });
  await t.test('a signal ends it as 128 + n', async () => {
    const { status } = await bed.run('kill -TERM $$; sleep 9', (c) => ({
      ...c,
      namespaces: [{ cloneFlag: 0x0002_0000 }],
    }));
    assert.equal(status, 143);
  });
  await t.test('user, groups, umask, HOME, no capabilities kept', async () => {
    const { stdout } = await bed.run(
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
    const { stdout } = await bed.run('grep Cap /proc/self/status', (c) => ({
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
    const { stdout } = await bed.run(
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
    const there = await bed.run('echo $PWD; stat -c %a .', (c) => ({
      ...c,
      process: { ...c.process, cwd: '/new/deep' },
    }));
    assert.equal(there.stdout, '/new/deep\n755\n');
    const closed = await bed.run(['/bin/readlink', '/proc/self/cwd'], (c) => ({
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
      const { stdout, stderr } = await bed.run(
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
    const { stdout } = await bed.run(['/bin/ls', '/proc/self/fd']);
    assert.equal(stdout, '0\n1\n2\n3\n');
  });
  await t.test('execve failures come from StartProcess', async () => {
    for (const [file, words] of [
      ['/bin/no-interpreter', /no such file or directory/],
      ['/bin/no-format', /exec format error/],
    ] as const) {
      const name = bed.id();
      await bed.guest.call('CreateContainer', {
        ...container(bed.lower, await bed.upper(), [file]),
        id: name,
      });
      await assert.rejects(bed.guest.call('StartProcess', { container: name }), words);
      await bed.guest.exit(name);
      await bed.guest.call('DeleteContainer', { container: name });
    }
  });
});

test('file system and mounts', { skip, concurrency: false }, async (t) => {
  await t.test('overlay: the image is there, writable, with its root mode', async () => {
    const { stdout } = await bed.run(
      'cat /etc/marker; echo new > /etc/marker; cat /etc/marker; stat -c %a /; ls /',
    );
    assert.match(stdout, /^from the imagenew\n755\n/);
    assert.doesNotMatch(stdout, /lost\+found/);
  });
  await t.test('the scratch is a clean ext4 after delete', async () => {
    const disk = await bed.upper();
    const name = bed.id();
    await bed.guest.run(name, container(bed.lower, disk, 'echo kept > /kept'));
    await bed.guest.call('DeleteContainer', { container: name });
    await bed.guest.vm.removeDrive(disk);
    const image = join(bed.guest.dir, `upper-${disk.slice(4)}.ext4`);
    execFileSync('e2fsck', ['-fn', image]);
    assert.equal(
      execFileSync('debugfs', ['-R', 'cat /upper/kept', image], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }).toString(),
      'kept\n',
    );
  });
  await t.test('read-only root', async () => {
    const { stdout, stderr } = await bed.run('touch /x; touch /dev/shm/y && echo fine', (c) => ({
      ...c,
      rootfs: { ...c.rootfs, readonly: true },
    }));
    assert.match(stderr, /touch: \/x: Read-only file system/);
    assert.equal(stdout, 'fine\n');
  });
  await t.test('an upper disk alone is the root', async () => {
    const name = bed.id();
    const root = await bed.guest.lower();
    const { stdout } = await bed.guest
      .run(name, { ...container('', root, 'echo alone') })
      .catch((e: Error) => ({ stdout: e.message }));
    // A read-only disk cannot be mounted for writing: the error says so.
    assert.match(stdout, /mount disk .*(EROFS|EACCES)/);
  });
  await t.test('/dev: devices, links, ptmx', async () => {
    const { stdout } = await bed.run(
      'cd /dev; stat -c "%n %F %t:%T %a" null zero full random urandom tty; ' +
        'for l in fd stdin stdout stderr ptmx; do readlink $l; done; echo x > null; head -c 2 zero | wc -c',
    );
    assert.equal(stdout.split('\n')[0], 'null character special file 1:3 666');
    assert.match(stdout, /urandom character special file 1:9 666/);
    assert.match(
      stdout,
      /\/proc\/self\/fd\n\/proc\/self\/fd\/0\n\/proc\/self\/fd\/1\n\/proc\/self\/fd\/2\npts\/ptmx\n2\n$/,
    );
  });
  await t.test('a device of the spec', async () => {
    const { stdout } = await bed.run('stat -c "%F %t:%T %a %u:%g" /dev/own/thing', (c) => ({
      ...c,
      devices: [{ path: '/dev/own/thing', mode: 0o20640, major: 1, minor: 7, uid: 4, gid: 5 }],
    }));
    assert.equal(stdout, 'character special file 1:7 640 4:5\n');
  });
  await t.test('masked and read-only paths', async () => {
    const { stdout, stderr } = await bed.run(
      'cat /proc/kcore | wc -c; ls /sys/firmware | wc -l; echo 1 > /proc/sys/vm/swappiness; echo $?',
    );
    assert.equal(stdout, '0\n0\n1\n');
    assert.match(stderr, /Read-only/);
  });
  await t.test('a mount through symlinks stays inside the root', async () => {
    const tmpfs = (destination: string) => ({ destination, type: 'tmpfs', source: 'tmpfs' });
    const { stdout } = await bed.run(
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
    const { stdout, stderr } = await bed.run(
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
    const { stdout } = await bed.run('cat /proc/self/mountinfo; ls /proc/1/root/');
    assert.doesNotMatch(stdout, / - ext4 |virtio-ports|modules/);
  });
  await t.test('sysctls, own cgroup as root, clock', async () => {
    const { stdout } = await bed.run(
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
