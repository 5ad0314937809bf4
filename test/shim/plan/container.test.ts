import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSpec } from '../../../oci/runtime-spec.ts';
import { type ErrorCode, SquibError } from '../../../src/base/errors.ts';
import { CreateContainerRequest } from '../../../src/proto/agent.ts';
import { agentRequest, planContainer } from '../../../src/shim/plan/container.ts';

const NEWNS = 0x20000;
const NEWCGROUP = 0x2000000;
const NEWUTS = 0x4000000;
const NEWIPC = 0x8000000;
const NEWPID = 0x20000000;
const NEWNET = 0x40000000;

const OWN = ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type }));
const PROCESS = { user: { uid: 0, gid: 0 }, args: ['true'], cwd: '/' };

function plan(parts: { linux?: object; process?: object; [key: string]: unknown } = {}) {
  const ignored: string[] = [];
  const { linux, process, ...rest } = parts;
  const spec = parseSpec(
    JSON.stringify({
      ociVersion: '1.0.2',
      root: { path: 'rootfs' },
      process: { ...PROCESS, ...process },
      linux: { namespaces: OWN, ...linux },
      ...rest,
    }),
  );
  const planned = planContainer({
    id: 'c1',
    spec,
    sandboxId: 'pod',
    podPid: 4711,
    ignored: (what) => ignored.push(what),
  });
  return { planned, ignored };
}

function refused(parts: Parameters<typeof plan>[0], code: ErrorCode): string {
  try {
    plan(parts);
  } catch (thrown) {
    assert.ok(thrown instanceof SquibError);
    assert.equal(thrown.code, code, thrown.message);
    return thrown.message;
  }
  return assert.fail(`accepted ${JSON.stringify(parts)}`);
}

test('what a microVM does not give is refused by name', () => {
  const cases: [Parameters<typeof plan>[0], RegExp][] = [
    [{ process: { terminal: true } }, /process\.terminal/],
    [{ process: { ioPriority: { class: 'IOPRIO_CLASS_IDLE' } } }, /process\.ioPriority/],
    [{ linux: { seccomp: { defaultAction: 'SCMP_ACT_ERRNO' } } }, /linux\.seccomp.*seccomp=unconfined/],
    [{ linux: { uidMappings: [{ containerID: 0, hostID: 1, size: 1 }] } }, /linux\.uidMappings/],
    [{ linux: { rootfsPropagation: 'shared' } }, /rootfsPropagation "shared"/],
    [{ linux: { intelRdt: {} } }, /linux\.intelRdt/],
    [{ linux: { resources: { blockIO: { weight: 5 } } } }, /linux\.resources\.blockIO/],
    [
      { linux: { resources: { hugepageLimits: [{ pageSize: '2MB', limit: 1 }] } } },
      /linux\.resources\.hugepageLimits/,
    ],
    [{ hooks: { createRuntime: [{ path: '/x' }] } }, /hooks\.createRuntime/],
    [{ mounts: [{ destination: '/a', source: '/b', options: ['rbind'] }] }, /the host's "\/b" at "\/a"/],
    [{ mounts: [{ destination: '/a', type: 'bind', source: '/b', options: ['bind'] }] }, /"\/b"/],
    [{ mounts: [{ destination: '/a', type: 'nfs', source: 'h:/x' }] }, /type "nfs" at "\/a"/],
    [
      { mounts: [{ destination: '/a', type: 'tmpfs', options: ['tmpcopyup'] }] },
      /"\/a": option tmpcopyup is not supported/,
    ],
    [
      { linux: { devices: [{ path: '/dev/sda', type: 'b', major: 8, minor: 0 }] } },
      /device \/dev\/sda \(b 8:0\) belongs to the host/,
    ],
    [{ linux: { devices: [{ path: '/dev/kmsg', type: 'c', major: 1, minor: 11 }] } }, /\/dev\/kmsg/],
    [{ linux: { namespaces: [...OWN, { type: 'user' }] } }, /user namespaces/],
    [{ linux: { namespaces: OWN.slice(1) } }, /the host's pid namespace/],
    [
      { linux: { namespaces: [...OWN.slice(0, 4), { type: 'network', path: '/run/netns/x' }] } },
      /joins the network namespace "\/run\/netns\/x" of the host/,
    ],
    [
      { linux: { namespaces: [...OWN.slice(0, 4), { type: 'network', path: '/proc/1/ns/net' }] } },
      /joins the network namespace "\/proc\/1\/ns\/net"/,
    ],
  ];
  for (const [parts, words] of cases) assert.match(refused(parts, 'unimplemented'), words);
});

test('what makes no sense is refused by its JSON path', () => {
  const cases: [Parameters<typeof plan>[0], RegExp][] = [
    [{ process: { args: [] } }, /process\.args: must not be empty/],
    [{ process: { cwd: 'tmp' } }, /process\.cwd: "tmp" must be an absolute path/],
    [{ process: { rlimits: [{ type: 'RLIMIT_X', soft: 1, hard: 1 }] } }, /process\.rlimits\[0\]\.type/],
    [{ process: { rlimits: [{ type: '__proto__', soft: 1, hard: 1 }] } }, /process\.rlimits\[0\]\.type/],
    [{ process: { rlimits: [{ type: 'RLIMIT_CPU', soft: 2, hard: 1 }] } }, /soft limit 2 is above/],
    [
      {
        process: {
          rlimits: [
            { type: 'RLIMIT_CPU', soft: 1, hard: 1 },
            { type: 'RLIMIT_CPU', soft: 1, hard: 1 },
          ],
        },
      },
      /rlimits\[1\]\.type: RLIMIT_CPU is there twice/,
    ],
    [{ mounts: [{ destination: 'a', type: 'tmpfs' }] }, /mounts\[0\]\.destination: "a"/],
    [{ linux: { maskedPaths: ['a'] } }, /linux\.maskedPaths\[0\]: "a"/],
    [{ linux: { namespaces: [...OWN, { type: 'pid' }] } }, /"pid" is there twice/],
    [{ linux: { namespaces: [...OWN, { type: 'toString' }] } }, /"toString"; expected one of/],
    [{ linux: { devices: [{ path: '/dev/x', type: 'x' }] } }, /linux\.devices\[0\]\.type: "x"/],
    [{ linux: { resources: { memory: { swap: 5 } } } }, /swap: 5 needs a memory limit/],
    [{ linux: { resources: { memory: { limit: 10, swap: 5 } } } }, /below the memory limit 10/],
  ];
  for (const [parts, words] of cases) assert.match(refused(parts, 'invalid-argument'), words);
  const bare = parseSpec('{"ociVersion":"1.0.2"}');
  const input = { id: 'c', spec: bare, sandboxId: undefined, podPid: 1, ignored: () => {} };
  assert.throws(() => planContainer(input), /process is missing/);
});

test('what has no meaning in the guest is ignored by name', () => {
  const { ignored } = plan({
    process: {
      apparmorProfile: 'p',
      selinuxLabel: 'l',
      capabilities: { bounding: ['CAP_CHOWN', 'CAP_FUTURE'] },
    },
    linux: { mountLabel: 'm', resources: { cpu: { cpus: '0-3', mems: '0' } } },
  });
  assert.deepEqual(ignored.sort(), [
    'capability CAP_FUTURE',
    'linux.mountLabel',
    'linux.resources.cpu.cpus',
    'linux.resources.cpu.mems',
    'process.apparmorProfile',
    'process.selinuxLabel',
  ]);
});

test('namespaces are new, or the sandbox of the pod', () => {
  const namespaces = [
    { type: 'pid' },
    { type: 'mount', path: '' },
    { type: 'ipc', path: '/proc/4711/ns/ipc' },
    { type: 'uts', path: '/proc/4711/ns/uts' },
    { type: 'network', path: '/proc/4711/ns/net' },
  ];
  assert.deepEqual(plan({ linux: { namespaces } }).planned.namespaces, [
    { cloneFlag: NEWPID, container: '' },
    { cloneFlag: NEWNS, container: '' },
    { cloneFlag: NEWIPC, container: 'pod' },
    { cloneFlag: NEWUTS, container: 'pod' },
    { cloneFlag: NEWNET, container: 'pod' },
    { cloneFlag: NEWCGROUP, container: '' },
  ]);
});

test('mount options become flags, propagation and data', () => {
  const { planned } = plan({
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
      },
      { destination: '/s', type: 'sysfs', source: 'sysfs', options: ['ro', 'suid', 'rw', 'rslave'] },
      { destination: '/c', type: 'cgroup2', options: [] },
    ],
  });
  assert.deepEqual(planned.mounts, [
    { destination: '/proc', type: 'proc', source: 'proc', flags: 2 | 4 | 8, data: '', propagation: 0 },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      flags: 2 | 0x1000000,
      data: 'mode=755,size=65536k',
      propagation: 0,
    },
    { destination: '/s', type: 'sysfs', source: 'sysfs', flags: 0, data: '', propagation: 0x80000 | 0x4000 },
    { destination: '/c', type: 'cgroup', source: '', flags: 0, data: '', propagation: 0 },
  ]);
});

test('the process: user, capabilities by bit, rlimits by number', () => {
  const { planned } = plan({
    process: {
      user: { uid: 1000, gid: 100, additionalGids: [5, 6], umask: 0o77 },
      env: ['A=1'],
      noNewPrivileges: true,
      oomScoreAdj: -5,
      capabilities: { bounding: ['CAP_CHOWN', 'CAP_CHECKPOINT_RESTORE'], ambient: ['CAP_KILL'] },
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }],
    },
  });
  assert.deepEqual(planned.process, {
    args: ['true'],
    env: ['A=1'],
    cwd: '/',
    user: { uid: 1000, gid: 100, additionalGids: [5, 6], umask: 0o77, hasUmask: true },
    capabilities: { bounding: 1n | (1n << 40n), effective: 0n, inheritable: 0n, permitted: 0n, ambient: 32n },
    rlimits: [{ resource: 7, soft: 1024n, hard: 1024n }],
    noNewPrivileges: true,
    oomScoreAdj: -5,
    terminal: false,
  });
});

test('devices that every kernel has are made', () => {
  const { planned } = plan({
    linux: {
      devices: [
        { path: '/dev/null', type: 'c', major: 1, minor: 3, fileMode: 0o666, uid: 0, gid: 0 },
        { path: '/dev/pipe', type: 'p' },
      ],
    },
  });
  assert.deepEqual(planned.devices, [
    { path: '/dev/null', mode: 0o020666, major: 1, minor: 3, uid: 0, gid: 0 },
    { path: '/dev/pipe', mode: 0o010666, major: 0, minor: 0, uid: 0, gid: 0 },
  ]);
});

test('a whole plan survives the wire', () => {
  const { planned } = plan({ hostname: 'h', root: { path: 'rootfs', readonly: true } });
  const request = agentRequest(
    planned,
    { lowerSerial: 'disk1', upperSerial: 'disk2' },
    { stdinPort: 0, stdoutPort: 1024, stderrPort: 1025 },
  );
  const read = CreateContainerRequest.decode(CreateContainerRequest.encode(request));
  assert.equal(read.id, 'c1');
  assert.equal(read.hostname, 'h');
  assert.deepEqual(read.rootfs, { lowerSerial: 'disk1', upperSerial: 'disk2', readonly: true });
  assert.deepEqual(read.process?.stdio, { stdinPort: 0, stdoutPort: 1024, stderrPort: 1025 });
  assert.deepEqual(read.process?.args, ['true']);
});
