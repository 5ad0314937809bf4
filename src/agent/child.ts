import { describe } from '../base/errors.ts';
import { utf8Encode } from '../base/utf8.ts';
import type { CreateContainerRequest, Process } from '../proto/agent.ts';
import { becomeUser, dropBounding, setCapabilities, setRlimits } from './credentials.ts';
import { makeDevices } from './devices.ts';
import { execFailure, findExecutable, homeOf, variable } from './executable.ts';
import { makeReadonly, maskPaths } from './masks.ts';
import { mountInRoot, remountReadonly } from './mounts.ts';
import { type NamespaceJoin, namespaceFile } from './namespaces.ts';
import { makeDirectories } from './path.ts';
import { codeOf, step, unless } from './step.ts';
import {
  CLONE_NEWCGROUP,
  KEYCTL_JOIN_SESSION_KEYRING,
  MNT_DETACH,
  MS_BIND,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  MS_REMOUNT,
  MS_SLAVE,
  O_PATH,
  PR_SET_NO_NEW_PRIVS,
} from './sys/constants.ts';
import { EACCES, ENOSYS, EPERM } from './sys/errno.ts';
import type { Kernel } from './sys/kernel.ts';

/** All that the child needs to know; made before the clone. */
export interface ChildPlan {
  readonly request: CreateContainerRequest;
  readonly process: Process;
  /** The mounted root, in the agent's mount namespace. */
  readonly root: string;
  readonly stdio: readonly number[];
  /** Write end: REPORT_READY, or an error record; closed by a successful execve. */
  readonly report: number;
  /** Read end: one byte lets the child execve, the end makes it exit. */
  readonly start: number;
  readonly joins: readonly NamespaceJoin[];
  /** Its network namespace is new and has a `lo` that is down. */
  readonly newNetwork: boolean;
  /** Gets a cgroup namespace with its own cgroup as root. */
  readonly newCgroup: boolean;
}

/** First byte of a report: the process stands right before its execve. */
export const REPORT_READY = 1;
/** First byte of a report: an error record follows, `code NUL message`, up to the end of the pipe. */
export const REPORT_ERROR = 2;
/** A record fits into the pipe's atomic size. */
const REPORT_BYTES_MAX = 4096;
const EXIT_SETUP_FAILED = 1;
const UMASK_DEFAULT = 0o022;
const NO_CAPABILITIES = { bounding: 0, effective: 0, inheritable: 0, permitted: 0, ambient: 0 };

/**
 * The child's whole life up to its execve; runs in the copy of the interpreter that clone made, and
 * never returns into what that copy was doing. Whatever goes wrong is reported, and ends the process.
 */
export function runChild(kernel: Kernel, plan: ChildPlan): void {
  try {
    attempt(kernel, plan);
  } finally {
    kernel.exit(EXIT_SETUP_FAILED);
  }
}

function attempt(kernel: Kernel, plan: ChildPlan): void {
  try {
    execute(kernel, plan, setUp(kernel, plan));
  } catch (thrown) {
    report(kernel, plan.report, REPORT_ERROR, `${codeOf(thrown)}\0${describe(thrown)}`);
  }
}

/** What is left to be done when the start comes. */
interface Ready {
  readonly file: string;
  readonly env: readonly string[];
}

function setUp(kernel: Kernel, plan: ChildPlan): Ready {
  const { request, process } = plan;
  step('reset signals', () => kernel.blockSignals([]));
  step('start a session', () => kernel.setsid());
  step('place stdio', () => placeDescriptors(kernel, plan));
  step(`set oom score to ${process.oomScoreAdj}`, () =>
    kernel.writeFile('/proc/self/oom_score_adj', `${process.oomScoreAdj}`),
  );
  enterNamespaces(kernel, plan);
  kernel.umask(0);
  step('make mounts private', () => kernel.mount({ target: '/', flags: MS_REC | MS_PRIVATE }));
  for (const m of request.mounts) {
    kernel.beginEvent();
    mountInRoot(kernel, plan.root, m);
  }
  enterRoot(kernel, plan.root);
  makeDevices(kernel, request.devices, request.mounts);
  step(`make working directory "${process.cwd}"`, () => makeDirectories(kernel, process.cwd));
  kernel.beginEvent();
  remountReadonly(kernel, request.mounts);
  if (request.rootfs?.readonly) {
    step('make the root read-only', () =>
      kernel.mount({ target: '/', flags: MS_BIND | MS_REMOUNT | MS_RDONLY }),
    );
  }
  nameHost(kernel, request);
  for (const { key, value } of request.sysctls) {
    step(`set sysctl ${key} to "${value}"`, () =>
      kernel.writeFile(`/proc/sys/${key.split('.').join('/')}`, value),
    );
  }
  kernel.beginEvent();
  makeReadonly(kernel, request.readonlyPaths);
  maskPaths(kernel, request.maskedPaths);
  setRlimits(kernel, process.rlimits);
  kernel.beginEvent();
  return becomeProcess(kernel, plan);
}

/** Puts stdio on 0 to 2 and closes all else, so that the child keeps nobody's pipe open. */
function placeDescriptors(kernel: Kernel, { stdio, report: reportFd, start }: ChildPlan): void {
  stdio.forEach((fd, i) => {
    kernel.dup3(fd, i);
  });
  let from = 3;
  for (const fd of [Math.min(reportFd, start), Math.max(reportFd, start)]) {
    if (fd > from) kernel.done('close_range', kernel.raw(kernel.table.close_range, from, fd - 1, 0));
    from = fd + 1;
  }
  kernel.closeFrom(from, 0);
}

function enterNamespaces(kernel: Kernel, plan: ChildPlan): void {
  for (const { cloneFlag, pid } of plan.joins) {
    const file = namespaceFile(pid, cloneFlag);
    step(`join namespace ${file}`, () => {
      const fd = kernel.open(file, 0);
      kernel.setns(fd, cloneFlag);
      kernel.close(fd);
    });
  }
  if (plan.newCgroup) step('unshare the cgroup namespace', () => kernel.unshare(CLONE_NEWCGROUP));
  if (plan.newNetwork) step('bring lo up', () => kernel.interfaceUp('lo'));
  step('join a session keyring', () =>
    unless([ENOSYS], () => kernel.joinSessionKeyring(KEYCTL_JOIN_SESSION_KEYRING)),
  );
}

/** pivot_root with the old root stacked on the new one and then detached: nothing of it is left. */
function enterRoot(kernel: Kernel, root: string): void {
  step('enter the root', () => {
    const old = kernel.open('/', O_PATH);
    kernel.chdir(root);
    kernel.pivotRoot('.', '.');
    kernel.fchdir(old);
    kernel.mount({ target: '.', flags: MS_SLAVE | MS_REC });
    kernel.umount2('.', MNT_DETACH);
    kernel.close(old);
    kernel.chdir('/');
  });
}

function nameHost(kernel: Kernel, { hostname, domainname }: CreateContainerRequest): void {
  if (hostname !== '') step(`set host name "${hostname}"`, () => kernel.sethostname(hostname));
  if (domainname !== '') step(`set domain name "${domainname}"`, () => kernel.setdomainname(domainname));
}

/** From root of the VM to the process that the spec describes. */
function becomeProcess(kernel: Kernel, { process }: ChildPlan): Ready {
  const user = process.user ?? { uid: 0, gid: 0, additionalGids: [], umask: 0, hasUmask: false };
  kernel.umask(user.hasUmask ? user.umask : UMASK_DEFAULT);
  if (user.uid !== 0) step('give stdio to the user', () => ownStdio(kernel, process, user.uid));
  if (process.noNewPrivileges) step('set no_new_privs', () => kernel.prctl(PR_SET_NO_NEW_PRIVS, 1));
  else filterSyscalls(kernel, process);
  // Before the user changes, since root may enter what the user may not; and again after it, since
  // the other way round exists too (a directory on NFS).
  const enter = (again: readonly number[]) =>
    step(`enter working directory "${process.cwd}"`, () =>
      unless(again, () => {
        kernel.chdir(process.cwd);
        return true;
      }),
    );
  const entered = enter([EACCES, EPERM]);
  const caps = process.capabilities ?? NO_CAPABILITIES;
  dropBounding(kernel, caps.bounding);
  becomeUser(kernel, user);
  if (!entered) enter([]);
  setCapabilities(kernel, caps);
  const home = variable(process.env, 'HOME') === '' ? [`HOME=${homeOf(kernel, user.uid)}`] : [];
  const file = findExecutable(kernel, process.args[0] as string, variable(process.env, 'PATH'));
  return { file, env: [...process.env.filter((entry) => home.length === 0 || entry !== 'HOME='), ...home] };
}

/** So that a process without privileges may open /dev/stdout again. */
function ownStdio(kernel: Kernel, process: Process, uid: number): void {
  const ports = process.stdio;
  [ports?.stdinPort, ports?.stdoutPort, ports?.stderrPort].forEach((port, fd) => {
    if (port) kernel.fchown(fd, uid, -1);
  });
}

function filterSyscalls(kernel: Kernel, process: Process): void {
  if (process.seccompFilter.length > 0) {
    step('install the seccomp filter', () => kernel.seccomp(process.seccompFilter));
  }
}

function execute(
  kernel: Kernel,
  { process, report: reportFd, start }: ChildPlan,
  { file, env }: Ready,
): void {
  report(kernel, reportFd, REPORT_READY, '');
  kernel.beginEvent();
  // The end instead of a byte: nobody wants this process any more.
  if (kernel.read(start, kernel.alloc(1), 1) !== 1) return;
  if (process.noNewPrivileges) filterSyscalls(kernel, process);
  try {
    kernel.execve(file, process.args, env);
  } catch (thrown) {
    throw execFailure(file, thrown);
  }
}

function report(kernel: Kernel, fd: number, kind: number, text: string): void {
  kernel.beginEvent();
  const record = utf8Encode(`${String.fromCharCode(kind)}${text}`).subarray(0, REPORT_BYTES_MAX);
  kernel.write(fd, kernel.put(record), record.length);
}
