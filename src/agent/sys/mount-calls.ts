import { MNT_DETACH, MOVE_MOUNT_F_EMPTY_PATH, OPEN_TREE_CLOEXEC } from './constants.ts';
import { FileCalls } from './file-calls.ts';
import { MOUNT_ATTR } from './structs.ts';

/** What `mount` needs; the empty string stands for NULL in `source`, `type` and `data`. */
export interface MountCall {
  readonly source?: string;
  readonly target: string;
  readonly type?: string;
  /** MS_*. */
  readonly flags?: number;
  readonly data?: string;
}

/** Calls on mounts and the root. */
export class MountCalls extends FileCalls {
  mount(m: MountCall): void {
    const source = this.optional(m.source);
    const target = this.cstr(m.target);
    const type = this.optional(m.type);
    const data = this.optional(m.data);
    const subject = m.type ? `${m.target} (${m.type})` : m.target;
    this.done('mount', this.raw(this.table.mount, source, target, type, m.flags ?? 0, data), subject);
  }
  private optional(text: string | undefined): number {
    return text === undefined || text === '' ? 0 : this.cstr(text);
  }
  /** @param flags MNT_DETACH unless told otherwise. */
  umount2(target: string, flags = MNT_DETACH): void {
    this.done('umount2', this.raw(this.table.umount2, this.cstr(target), flags), target);
  }
  pivotRoot(newRoot: string, putOld: string): void {
    const root = this.cstr(newRoot);
    this.done('pivot_root', this.raw(this.table.pivot_root, root, this.cstr(putOld)), newRoot);
  }
  chroot(path: string): void {
    this.done('chroot', this.raw(this.table.chroot, this.cstr(path)), path);
  }
  chdir(path: string): void {
    this.done('chdir', this.raw(this.table.chdir, this.cstr(path)), path);
  }
  fchdir(fd: number): void {
    this.done('fchdir', this.raw(this.table.fchdir, fd), `fd ${fd}`);
  }
  /** A descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy of it (AT_RECURSIVE: with all below). */
  openTree(dirfd: number, path: string, flags: number): number {
    const p = this.cstr(path);
    return this.done('open_tree', this.raw(this.table.open_tree, dirfd, p, flags | OPEN_TREE_CLOEXEC), path);
  }
  /** Attaches the mount that `fromFd` stands for at `path`. */
  moveMount(fromFd: number, toDirfd: number, path: string, flags = MOVE_MOUNT_F_EMPTY_PATH): void {
    const empty = this.cstr('');
    const to = this.cstr(path);
    this.done('move_mount', this.raw(this.table.move_mount, fromFd, empty, toDirfd, to, flags), path);
  }
  /**
   * Sets and clears MOUNT_ATTR_* of a mount, and its propagation (MS_*, 0: unchanged).
   * @param flags AT_EMPTY_PATH, AT_RECURSIVE.
   */
  mountSetattr(
    dirfd: number,
    path: string,
    flags: number,
    attr: { set: number; clear: number; propagation?: number },
  ): void {
    const p = this.alloc(MOUNT_ATTR.bytes);
    this.w64(p + MOUNT_ATTR.attrSet, attr.set);
    this.w64(p + MOUNT_ATTR.attrClr, attr.clear);
    this.w64(p + MOUNT_ATTR.propagation, attr.propagation ?? 0);
    const at = this.cstr(path);
    const result = this.raw(this.table.mount_setattr, dirfd, at, flags, p, MOUNT_ATTR.bytes);
    this.done('mount_setattr', result, path || `fd ${dirfd}`);
  }
}
