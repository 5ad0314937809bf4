// kvm-probe: proves that KVM runs guest code at hardware speed, and measures the host's TSC.
//
// A /dev/kvm that opens, creates a VM and runs it may still emulate every instruction (nested
// page-table virtualization): only a timed guest loop tells. The loop is about 20 million real-mode
// instructions: milliseconds on hardware, 10 s where it is emulated; the deadline is 1 s, more only
// where an overloaded host did not let it run.
//
// Prints one line of key=value pairs:   kvm=ok elapsed_us=9120 tsc_khz=2600000
//   kvm          ok | slow | absent (no /dev/kvm, or not openable) | broken (an ioctl failed)
//   elapsed_us   how long the loop ran (up to the deadline)
//   tsc_khz      the TSC's rate; 0 where there is no TSC
//   step, errno  with absent and broken: what failed
// `kvm-probe tsc` measures the TSC alone. Exit status: 0 whatever the verdict, 2 on wrong usage.
//
// Build: musl-gcc -static -Os -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <linux/kvm.h>

enum {
  LOOPS = 10 * 1000 * 1000,
  DEADLINE_MS = 1000,
  // Past the deadline the loop may go on until it had this much of a CPU, up to the last deadline.
  CPU_MS = 300,
  LAST_DEADLINE_MS = 4000,
  ALARM_MS = 50,
  TSC_WINDOW_MS = 20,
  GUEST_BYTES = 4096,
};

static volatile sig_atomic_t late;
static int alarms;

static void on_alarm(int sig) {
  struct timespec cpu;
  (void)sig;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  int used_ms = (int)(cpu.tv_sec * 1000 + cpu.tv_nsec / 1000000);
  if (used_ms >= CPU_MS || DEADLINE_MS + alarms++ * ALARM_MS >= LAST_DEADLINE_MS) late = 1;
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#if defined(__x86_64__)
static uint64_t rdtsc(void) {
  uint32_t lo, hi;
  __asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi));
  return (uint64_t)hi << 32 | lo;
}

// A clock reading with the TSC in the middle of it: of some tries the tightest, so that being
// scheduled away between the two readings does not count.
static void pair(uint64_t *ns, uint64_t *tsc) {
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < 16; i++) {
    uint64_t before = now_ns(), at = rdtsc(), after = now_ns();
    if (after - before >= best) continue;
    best = after - before;
    *ns = before + (after - before) / 2;
    *tsc = at;
  }
}

static unsigned long tsc_khz(void) {
  uint64_t ns0 = 0, ns1 = 0, t0 = 0, t1 = 0;
  struct timespec window = {0, TSC_WINDOW_MS * 1000000L};
  pair(&ns0, &t0);
  while (nanosleep(&window, &window) < 0 && errno == EINTR) continue;
  pair(&ns1, &t1);
  return (unsigned long)(((t1 - t0) * 1000000u + (ns1 - ns0) / 2) / (ns1 - ns0));
}

// mov ecx, LOOPS; again: dec ecx; jnz again; hlt  (16-bit code, 32-bit operands)
static const uint8_t guest_code[] = {
    0x66, 0xb9, LOOPS & 0xff, LOOPS >> 8 & 0xff, LOOPS >> 16 & 0xff, LOOPS >> 24 & 0xff,
    0x66, 0x49, 0x75, 0xfc, 0xf4,
};

static const char *failed_step;

static int step(const char *name, int result) {
  if (result < 0) failed_step = name;
  return result;
}

// The loop's time in us, -1 with failed_step set, or -2 when the deadline came first.
static long long timed_loop(int kvm) {
  int vm, cpu, run_bytes;
  if (step("KVM_CREATE_VM", vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0) return -1;
  uint8_t *memory = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return step("mmap", -1);
  memcpy(memory, guest_code, sizeof guest_code);
  struct kvm_userspace_memory_region region = {
      .guest_phys_addr = 0x1000, .memory_size = GUEST_BYTES, .userspace_addr = (uintptr_t)memory};
  if (step("KVM_SET_USER_MEMORY_REGION", ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region)) < 0) return -1;
  if (step("KVM_CREATE_VCPU", cpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0) return -1;
  if (step("KVM_GET_VCPU_MMAP_SIZE", run_bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0)) < 0) return -1;
  struct kvm_run *run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
  if (run == MAP_FAILED) return step("mmap kvm_run", -1);
  struct kvm_sregs sregs;
  if (step("KVM_GET_SREGS", ioctl(cpu, KVM_GET_SREGS, &sregs)) < 0) return -1;
  sregs.cs.base = sregs.cs.selector = 0;
  if (step("KVM_SET_SREGS", ioctl(cpu, KVM_SET_SREGS, &sregs)) < 0) return -1;
  struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
  if (step("KVM_SET_REGS", ioctl(cpu, KVM_SET_REGS, &regs)) < 0) return -1;

  uint64_t start = now_ns();
  for (;;) {
    int r = ioctl(cpu, KVM_RUN, 0);
    if (late) return -2;
    if (r < 0 && errno == EINTR) continue;
    if (step("KVM_RUN", r) < 0) return -1;
    if (run->exit_reason == KVM_EXIT_HLT) return (long long)((now_ns() - start) / 1000);
    errno = (int)run->exit_reason; // not an errno: shown as the number that it is
    return step("KVM_RUN exit reason", -1);
  }
}

static void probe_kvm(void) {
  struct sigaction act = {.sa_handler = on_alarm}; // no SA_RESTART: KVM_RUN has to come back
  // Repeats, so that a signal that arrives before KVM_RUN blocks does not get lost.
  struct itimerval timer = {{0, ALARM_MS * 1000}, {DEADLINE_MS / 1000, DEADLINE_MS % 1000 * 1000}};
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) {
    printf("kvm=absent step=open errno=%d ", errno);
    return;
  }
  sigaction(SIGALRM, &act, NULL);
  setitimer(ITIMER_REAL, &timer, NULL);
  uint64_t start = now_ns();
  long long us = timed_loop(kvm);
  int error = errno;
  memset(&timer, 0, sizeof timer);
  setitimer(ITIMER_REAL, &timer, NULL);
  if (late) printf("kvm=slow elapsed_us=%lld ", (long long)((now_ns() - start) / 1000));
  else if (us < 0) {
    for (const char *c = failed_step; *c; c++) {
      if (c == failed_step) fputs("kvm=broken step=", stdout);
      putchar(*c == ' ' ? '_' : *c);
    }
    printf(" errno=%d ", error);
  } else printf("kvm=ok elapsed_us=%lld ", us);
}
#else
static unsigned long tsc_khz(void) { return 0; }
static void probe_kvm(void) { printf("kvm=absent step=architecture errno=0 "); }
#endif

int main(int argc, char **argv) {
  if (argc > 2 || (argc == 2 && strcmp(argv[1], "tsc") != 0)) {
    fprintf(stderr, "usage: kvm-probe [tsc]\n");
    return 2;
  }
  // First: a vCPU that spins in the kernel must not disturb the measurement.
  unsigned long khz = tsc_khz();
  if (argc == 1) probe_kvm();
  printf("tsc_khz=%lu\n", khz);
  return fflush(stdout) == 0 ? 0 : 1;
}
