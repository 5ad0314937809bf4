import { spawn } from 'node:child_process';
import { constants, type FileHandle, open } from 'node:fs/promises';
import { withDeadline } from '../../base/deadline.ts';
import { SquibError, toSquibError } from '../../base/errors.ts';
import type { Drive } from '../resource/drive.ts';
import { checkDrive } from '../resource/drive.ts';
import type { Qmp } from './qmp.ts';
import type { QmpObject } from './qmp-codec.ts';

/** virtio-scsi has 256 targets; each drive takes one, and a guest has no use for more than this. */
export const DRIVES_MAX = 64;
/** virtio-scsi unplugs without asking the guest, so only a QEMU that hangs is late. */
const UNPLUG_TIMEOUT_MS = 10_000;
/** pass-fd sends one message; far less than a second even on a loaded host. */
const PASS_FD_TIMEOUT_MS = 10_000;

interface Plugged {
  readonly target: number;
  readonly fdset: number;
  state: 'plugging' | 'plugged' | 'unplugging';
}

/** The drives of one VM: virtio-scsi hot-plug by QMP (docs/protocol/qmp.md, "Drives"). */
export class Drives {
  readonly #qmp: Qmp;
  readonly #qmpFd: () => number;
  readonly #passFdPath: string;
  readonly #plugged = new Map<string, Plugged>();
  #lastFdset = 0;

  /** @param qmpFd the raw descriptor of the QMP socket, which pass-fd inherits. */
  constructor(qmp: Qmp, qmpFd: () => number, passFdPath: string) {
    this.#qmp = qmp;
    this.#qmpFd = qmpFd;
    this.#passFdPath = passFdPath;
  }

  /**
   * Plugs a drive; a failed plug leaves nothing behind.
   * @throws SquibError `already-exists` for an id in use, `resource-exhausted` past DRIVES_MAX,
   *   `not-found`, `failed-precondition` for an image that cannot be opened.
   */
  async put(drive: Drive): Promise<void> {
    checkDrive(drive);
    const entry = this.#reserve(drive.driveId);
    const undo: (() => Promise<unknown>)[] = [];
    try {
      const { image, driver } = await openImage(drive);
      try {
        await this.#addFd(drive.driveId, entry.fdset, image.fd);
        undo.push(() => this.#qmp.execute('remove-fd', { 'fdset-id': entry.fdset }));
      } finally {
        await image.close(); // QEMU has its own by now
      }
      await this.#qmp.execute('blockdev-add', blockdev(drive, entry.fdset, driver));
      undo.push(() => this.#qmp.execute('blockdev-del', { 'node-name': nodeName(drive.driveId) }));
      await this.#qmp.execute('device_add', device(drive, entry.target));
      entry.state = 'plugged';
    } catch (thrown) {
      // Only a QEMU that is gone fails here, and it took everything along.
      for (const step of undo.reverse()) await step().catch(() => {});
      this.#plugged.delete(drive.driveId);
      const error = toSquibError(thrown);
      throw new SquibError(error.code, `drive ${drive.driveId} (${drive.pathOnHost}) cannot be plugged`, {
        cause: error,
      });
    }
  }

  /**
   * Unplugs a drive once the guest let go of it.
   * @throws SquibError `not-found` for an unknown id, `deadline-exceeded` if QEMU does not confirm;
   *   the drive then counts as plugged and may be removed again.
   */
  async remove(driveId: string): Promise<void> {
    const entry = this.#plugged.get(driveId);
    if (entry === undefined) throw new SquibError('not-found', `drive ${driveId} is not plugged`);
    if (entry.state !== 'plugged') {
      throw new SquibError('failed-precondition', `drive ${driveId} is ${entry.state}: wait for that to end`);
    }
    entry.state = 'unplugging';
    try {
      const gone = this.#qmp.event('DEVICE_DELETED', (data) => data['device'] === driveId, UNPLUG_TIMEOUT_MS);
      gone.catch(() => {});
      await this.#qmp.execute('device_del', { id: driveId });
      await gone;
    } catch (thrown) {
      entry.state = 'plugged';
      throw thrown;
    }
    await this.#qmp.execute('blockdev-del', { 'node-name': nodeName(driveId) });
    await this.#qmp.execute('remove-fd', { 'fdset-id': entry.fdset });
    this.#plugged.delete(driveId);
  }

  #reserve(driveId: string): Plugged {
    if (this.#plugged.has(driveId)) {
      throw new SquibError('already-exists', `drive ${driveId} is already plugged; choose another id`);
    }
    if (this.#plugged.size >= DRIVES_MAX) {
      throw new SquibError(
        'resource-exhausted',
        `drive ${driveId}: the VM has ${DRIVES_MAX} drives, which is the most it carries`,
      );
    }
    const taken = new Set([...this.#plugged.values()].map((entry) => entry.target));
    let target = 0;
    while (taken.has(target)) target++;
    const entry: Plugged = { target, fdset: ++this.#lastFdset, state: 'plugging' };
    this.#plugged.set(driveId, entry);
    return entry;
  }

  async #addFd(driveId: string, fdset: number, imageFd: number): Promise<void> {
    const args = { 'fdset-id': fdset, opaque: driveId };
    await this.#qmp.executeBy('add-fd', args, (line) =>
      passFd(this.#passFdPath, line, this.#qmpFd(), imageFd),
    );
  }
}

async function openImage(drive: Drive): Promise<{ image: FileHandle; driver: 'file' | 'host_device' }> {
  const flags = drive.isReadOnly ? constants.O_RDONLY : constants.O_RDWR;
  let image: FileHandle;
  try {
    // O_NONBLOCK: the path may turn out to be a FIFO.
    image = await open(drive.pathOnHost, flags | constants.O_NONBLOCK);
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new SquibError(missing ? 'not-found' : 'failed-precondition', 'its image cannot be opened', {
      cause,
    });
  }
  try {
    const stat = await image.stat();
    if (stat.isFile()) return { image, driver: 'file' };
    if (stat.isBlockDevice()) return { image, driver: 'host_device' };
  } catch (thrown) {
    await image.close();
    throw thrown;
  }
  await image.close();
  throw new SquibError('invalid-argument', 'its image is neither a regular file nor a block device');
}

function nodeName(driveId: string): string {
  return `drive-${driveId}`;
}

function blockdev(drive: Drive, fdset: number, driver: string): QmpObject {
  const access = { 'read-only': drive.isReadOnly, 'auto-read-only': false, discard: 'unmap' };
  return {
    driver: 'raw',
    'node-name': nodeName(drive.driveId),
    ...access,
    file: {
      driver,
      filename: `/dev/fdset/${fdset}`,
      ...access,
      // Read-only images are shared by many VMs; a writable one has one user, which the lock holds.
      ...(drive.isReadOnly ? { locking: 'off' } : {}),
    },
  };
}

function device(drive: Drive, target: number): QmpObject {
  return {
    driver: 'scsi-hd',
    id: drive.driveId,
    bus: 'scsi.0',
    channel: 0,
    'scsi-id': target,
    lun: 0,
    drive: nodeName(drive.driveId),
    serial: drive.serial,
  };
}

/** Sends `line` and `imageFd` over the socket `socketFd` by the helper pass-fd. */
async function passFd(helper: string, line: string, socketFd: number, imageFd: number): Promise<void> {
  // Descriptors from 3 on: libuv makes 0 to 2 blocking in the child, and that is a property of the
  // socket itself.
  const child = spawn(helper, [line], {
    stdio: ['ignore', 'ignore', 'pipe', socketFd, imageFd],
    timeout: PASS_FD_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(0, STDERR_CHARS_MAX);
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', (cause) => {
      reject(new SquibError('failed-precondition', `${helper} cannot be run`, { cause }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new SquibError('internal', `${helper} ended with ${signal ?? code}: ${stderr.trim()}`));
    });
  });
  await withDeadline(ended, PASS_FD_TIMEOUT_MS + 1000, `the end of ${helper}`);
}

/** The helper writes one line. */
const STDERR_CHARS_MAX = 500;
