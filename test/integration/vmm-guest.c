// The guest of the vmm tests: PID 1 of a throw-away initramfs. Loads /modules/* in the order of
// /modules/order, opens the agent's port, says "hello", then obeys one command per line:
//   ping | disks | read NAME | write NAME | panic | reboot | spam | escape | net
// Answers are one line each. "disks" gives NAME:SERIAL:SECTORS:RO for every disk.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int port = -1;

static void say(const char *text) {
  size_t n = strlen(text);
  while (n > 0) {
    ssize_t w = write(port, text, n);
    if (w < 0) _exit(3);
    text += w;
    n -= (size_t)w;
  }
}

static int slurp(const char *path, char *out, int max) {
  int fd = open(path, O_RDONLY), n = fd < 0 ? -1 : (int)read(fd, out, (size_t)max - 1);
  if (fd >= 0) close(fd);
  out[n < 0 ? 0 : n] = 0;
  while (n > 0 && out[n - 1] == '\n') out[--n] = 0;
  return n;
}

static void load_modules(void) {
  char order[4096], path[300];
  if (slurp("/modules/order", order, sizeof order) < 0) return;
  for (char *name = strtok(order, "\n"); name; name = strtok(NULL, "\n")) {
    snprintf(path, sizeof path, "/modules/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0) fprintf(stderr, "insmod %s: %s\n", path, strerror(errno));
    close(fd);
  }
}

static int open_port(void) {
  char path[300], name[64];
  for (int tries = 0; tries < 200; tries++, usleep(10000)) {
    DIR *dir = opendir("/sys/class/virtio-ports");
    for (struct dirent *e; dir && (e = readdir(dir));) {
      snprintf(path, sizeof path, "/sys/class/virtio-ports/%.200s/name", e->d_name);
      if (slurp(path, name, sizeof name) <= 0 || strcmp(name, "org.squib.agent") != 0) continue;
      snprintf(path, sizeof path, "/dev/%.200s", e->d_name);
      closedir(dir);
      return open(path, O_RDWR | O_CLOEXEC);
    }
    if (dir) closedir(dir);
  }
  return -1;
}

static void disks(void) {
  char path[300], serial[64], sectors[32], ro[8], line[400];
  DIR *dir = opendir("/sys/block");
  for (struct dirent *e; dir && (e = readdir(dir));) {
    if (strncmp(e->d_name, "sd", 2) != 0) continue;
    snprintf(path, sizeof path, "/sys/block/%.60s/device/vpd_pg80", e->d_name);
    if (slurp(path, serial, sizeof serial) < 4) strcpy(serial + 4, "?");
    snprintf(path, sizeof path, "/sys/block/%.60s/size", e->d_name);
    slurp(path, sectors, sizeof sectors);
    snprintf(path, sizeof path, "/sys/block/%.60s/ro", e->d_name);
    slurp(path, ro, sizeof ro);
    snprintf(line, sizeof line, "%.60s:%s:%s:%s ", e->d_name, serial + 4, sectors, ro);
    say(line);
  }
  if (dir) closedir(dir);
  say("\n");
}

static void disk_read(const char *name) {
  char path[100], bytes[513];
  snprintf(path, sizeof path, "/dev/%.60s", name);
  int n = slurp(path, bytes, 17);
  say(n < 0 ? strerror(errno) : bytes);
  say("\n");
}

static void disk_write(const char *name) {
  char path[100], block[512] = "written by guest";
  snprintf(path, sizeof path, "/dev/%.60s", name);
  int fd = open(path, O_WRONLY | O_SYNC);
  if (fd < 0 || write(fd, block, sizeof block) != sizeof block) say(strerror(errno));
  else say("ok");
  if (fd >= 0) close(fd);
  say("\n");
}

static void network(void) {
  DIR *dir = opendir("/sys/class/net");
  for (struct dirent *e; dir && (e = readdir(dir));)
    if (e->d_name[0] != '.') say(e->d_name), say(" ");
  if (dir) closedir(dir);
  say("\n");
}

static void spam(void) {
  char line[128];
  memset(line, 'x', sizeof line);
  line[sizeof line - 1] = '\n';
  for (int i = 0; i < 2048; i++) write(2, line, sizeof line);
  write(2, "last line\n", 10);
  say("ok\n");
}

static void obey(char *line) {
  char *arg = strchr(line, ' ');
  if (arg) *arg++ = 0;
  if (!strcmp(line, "ping")) say("pong\n");
  else if (!strcmp(line, "disks")) disks();
  else if (!strcmp(line, "read")) disk_read(arg ? arg : "");
  else if (!strcmp(line, "write")) disk_write(arg ? arg : "");
  else if (!strcmp(line, "net")) network();
  else if (!strcmp(line, "spam")) spam();
  else if (!strcmp(line, "escape")) write(2, "\033[31mred\033]0;title\007\n", 21), say("ok\n");
  else if (!strcmp(line, "panic")) _exit(42); // init died: the kernel panics
  else if (!strcmp(line, "reboot")) reboot(RB_AUTOBOOT);
  else say("what?\n");
}

int main(void) {
  mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, NULL);
  mount("sysfs", "/sys", "sysfs", 0, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
  int console = open("/dev/console", O_RDWR);
  if (console >= 0) dup2(console, 0), dup2(console, 1), dup2(console, 2);
  load_modules();
  if ((port = open_port()) < 0) return 1;
  say("hello\n");
  char line[256];
  for (size_t n = 0;;) {
    ssize_t r = read(port, line + n, 1);
    if (r <= 0) { // the host is gone
      sync();
      reboot(RB_AUTOBOOT);
    }
    if (line[n] != '\n') {
      if (++n == sizeof line) n = 0;
      continue;
    }
    line[n] = 0;
    n = 0;
    obey(line);
  }
}
