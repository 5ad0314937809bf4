// jail: becomes an unprivileged process that sees next to nothing of the host, then executes the VMM.
//
//   jail --uid-base N [--keep-fds N] [--ro SRC DST]... [--ro-if PATH]... [--kvm] -- PROGRAM ARG...
//
//   --uid-base N    uid and gid become N + own pid: no two live VMMs share one (pids are unique)
//   --keep-fds N    descriptors 0..N-1 stay open, all others are closed (default 3)
//   --ro SRC DST    SRC (file or directory) is seen as DST, read-only
//   --ro-if PATH    PATH is seen in its place, read-only; a symlink is copied; a missing one skipped
//   --kvm           /dev/kvm is there and belongs to the new uid
//
// Same pid throughout. What the program gets: new mount, network (empty), IPC and UTS namespaces;
// a read-only tmpfs as root with only the named paths, /dev/null and /dev/urandom, no /proc; own
// session; no capabilities in any set, no_new_privs, no core dumps, oom_score_adj 0, umask 077,
// an empty environment. No PDEATHSIG: the caller may execve a newer self (docs/decisions/0004).
// Every failure prints one line to stderr and ends with status 125: nothing runs half jailed.
//
// Build: musl-gcc -static -Os -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <linux/capability.h>

enum { FAILED = 125, BINDS_MAX = 16, PATH_BYTES = 4096, KVM_MINOR = 232, FDS_MAX = 65536 };

// Where the new root is mounted, in our own namespace only.
#define STAGE "/tmp"

struct bind {
  const char *source, *target;
  int optional, fd;
};

static struct bind binds[BINDS_MAX];
static int bind_count;

static _Noreturn void die(const char *what, const char *which) {
  int error = errno;
  fprintf(stderr, "squib-jail: %s%s%s: %s\n", what, which ? " " : "", which ? which : "", strerror(error));
  _exit(FAILED);
}

static void must(int result, const char *what, const char *which) {
  if (result < 0) die(what, which);
}

static unsigned long number(const char *text, unsigned long max, const char *option) {
  char *end;
  errno = 0;
  unsigned long value = strtoul(text, &end, 10);
  if (errno || *end || end == text || value > max) {
    errno = EINVAL;
    die(option, text);
  }
  return value;
}

static void add_bind(const char *source, const char *target, int optional) {
  if (bind_count == BINDS_MAX || source[0] != '/' || target[0] != '/' || strstr(target, "..")) {
    errno = EINVAL;
    die("--ro", source);
  }
  binds[bind_count++] = (struct bind){source, target, optional, -1};
}

static const char *staged(const char *target) {
  static char path[PATH_BYTES];
  if (snprintf(path, sizeof path, "%s%s", STAGE, target) >= (int)sizeof path) {
    errno = ENAMETOOLONG;
    die("path", target);
  }
  return path;
}

static void make_parents(const char *target) {
  char path[PATH_BYTES];
  strcpy(path, staged(target));
  for (char *slash = strchr(path + sizeof STAGE, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(path, 0755) < 0 && errno != EEXIST) die("mkdir", path);
    *slash = '/';
  }
}

static void open_sources(void) {
  for (int i = 0; i < bind_count; i++) {
    int follow = binds[i].optional ? O_NOFOLLOW : 0;
    binds[i].fd = open(binds[i].source, O_PATH | O_CLOEXEC | follow);
    if (binds[i].fd < 0 && !(binds[i].optional && errno == ENOENT)) die("open", binds[i].source);
  }
}

static void place(const struct bind *b) {
  struct stat st;
  char link[PATH_BYTES], source[32];
  if (b->fd < 0) return;
  must(fstat(b->fd, &st), "stat", b->source);
  make_parents(b->target);
  if (S_ISLNK(st.st_mode)) {
    ssize_t n = readlinkat(b->fd, "", link, sizeof link - 1);
    if (n < 0) die("readlink", b->source);
    link[n] = 0;
    must(symlink(link, staged(b->target)), "symlink", b->target);
    return;
  }
  if (S_ISDIR(st.st_mode)) must(mkdir(staged(b->target), 0755), "mkdir", b->target);
  else must(mknod(staged(b->target), S_IFREG | 0444, 0), "create", b->target);
  snprintf(source, sizeof source, "/proc/self/fd/%d", b->fd);
  must(mount(source, staged(b->target), NULL, MS_BIND, NULL), "bind", b->source);
  must(mount(NULL, staged(b->target), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL),
       "make read-only", b->target);
}

static void device(const char *path, unsigned major, unsigned minor, mode_t mode, uid_t owner) {
  make_parents(path);
  must(mknod(staged(path), S_IFCHR | mode, makedev(major, minor)), "mknod", path);
  must(chown(staged(path), owner, owner), "chown", path);
}

static void new_root(uid_t uid, int kvm) {
  must(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS), "unshare", NULL);
  must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make private", "/");
  open_sources(); // after unshare: a bind needs a source of this namespace; before the stage hides any
  must(mount("squib-jail", STAGE, "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,nr_inodes=128,mode=755"),
       "mount tmpfs on", STAGE);
  for (int i = 0; i < bind_count; i++) place(&binds[i]);
  device("/dev/null", 1, 3, 0666, 0);
  device("/dev/urandom", 1, 9, 0444, 0);
  if (kvm) device("/dev/kvm", 10, KVM_MINOR, 0600, uid);
  must(chdir(STAGE), "chdir", STAGE);
  must((int)syscall(SYS_pivot_root, ".", "."), "pivot_root", NULL);
  // The whole host tree goes, so no host mount stays busy because of us.
  must(umount2(".", MNT_DETACH), "unmount the host's root", NULL);
  must(chdir("/"), "chdir", "/");
  must(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL),
       "make read-only", "/");
}

static void reset_oom(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0", 1) != 1) die("write", "/proc/self/oom_score_adj");
  close(fd);
}

static void close_from(unsigned first) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
#endif
  struct rlimit limit; // Linux < 5.9
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit", NULL);
  unsigned end = limit.rlim_cur > FDS_MAX ? FDS_MAX : (unsigned)limit.rlim_cur;
  for (unsigned fd = first; fd < end; fd++) close((int)fd);
}

static void drop_privileges(uid_t uid) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
  struct rlimit nothing = {0, 0};
  must(setrlimit(RLIMIT_CORE, &nothing), "setrlimit", "RLIMIT_CORE");
  for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++) continue;
  if (errno != EINVAL) die("drop the bounding set", NULL); // EINVAL: past the last capability
  must(setgroups(0, NULL), "setgroups", NULL);
  must(setresgid(uid, uid, uid), "setresgid", NULL);
  must(setresuid(uid, uid, uid), "setresuid", NULL);
  must((int)syscall(SYS_capset, &header, none), "capset", NULL);
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs", NULL);
  umask(077);
}

int main(int argc, char **argv) {
  unsigned long base = 0, keep = 3;
  int at = 1, kvm = 0;
  for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
    int left = argc - at - 1;
    if (strcmp(argv[at], "--uid-base") == 0 && left > 0) base = number(argv[++at], 0x7f000000, "--uid-base");
    else if (strcmp(argv[at], "--keep-fds") == 0 && left > 0) keep = number(argv[++at], 64, "--keep-fds");
    else if (strcmp(argv[at], "--ro") == 0 && left > 1) {
      add_bind(argv[at + 1], argv[at + 2], 0);
      at += 2;
    } else if (strcmp(argv[at], "--ro-if") == 0 && left > 0) {
      at++;
      add_bind(argv[at], argv[at], 1);
    } else if (strcmp(argv[at], "--kvm") == 0) kvm = 1;
    else {
      errno = EINVAL;
      die("option", argv[at]);
    }
  }
  char **program = argv + at + 1;
  if (at + 1 >= argc || base == 0 || keep < 3) {
    fprintf(stderr, "usage: jail --uid-base N [--keep-fds N] [--ro SRC DST] [--ro-if PATH] [--kvm] -- PROGRAM ARG...\n");
    return FAILED;
  }
  uid_t uid = (uid_t)(base + (unsigned long)getpid());
  char *empty[] = {NULL};
  umask(0); // the modes below are meant as written
  setsid(); // fails for a session leader only, which is what is wanted
  reset_oom();
  close_from((unsigned)keep);
  new_root(uid, kvm);
  close_from((unsigned)keep); // the O_PATH sources, still outside the root
  drop_privileges(uid);
  execve(program[0], program, empty);
  die("execute", program[0]);
}
