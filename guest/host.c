// The native part of the guest agent: an arena at a fixed address, one syscall primitive, and the engine
// that runs the bytecode linked into this ELF. Everything else is TypeScript (src/agent).
// Only what the agent needs is taken from the engine: no parser, eval, RegExp, JSON, Promise or Date.
#include <stdint.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/reboot.h>
#include "quickjs.h"

// Below 2^31, so that a pointer is a small integer in script, and away from the ELF and its heap.
#define ARENA_BASE 0x60000000L
#define REBOOT_MAGIC1 0xfee1deadL
#define REBOOT_MAGIC2 672274793L
// Virtual: pages that nobody touches cost nothing.
#define ARENA_BYTES (16L << 20)

// What the agent holds once it is up stays below this, so the first collection of cycles comes later.
#define GC_THRESHOLD_BYTES (768 << 10)

extern const uint8_t agent_bytecode[], agent_bytecode_end[];
extern const JSMallocFunctions heap; // heap.c

#if defined(__x86_64__)
#define ARCH "x64"
static long raw_syscall(long nr, const int64_t *a) {
  register long r10 __asm__("r10") = a[3];
  register long r8 __asm__("r8") = a[4];
  register long r9 __asm__("r9") = a[5];
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
#define ARCH "arm64"
static long raw_syscall(long nr, const int64_t *a) {
  register long x8 __asm__("x8") = nr;
  register long x0 __asm__("x0") = a[0];
  register long x1 __asm__("x1") = a[1];
  register long x2 __asm__("x2") = a[2];
  register long x3 __asm__("x3") = a[3];
  register long x4 __asm__("x4") = a[4];
  register long x5 __asm__("x5") = a[5];
  __asm__ volatile("svc #0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory", "cc");
  return x0;
}
#else
#error "no syscall instruction known for this architecture"
#endif

static long sys(long nr, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f) {
  const int64_t args[6] = {a, b, c, d, e, f};
  return raw_syscall(nr, args);
}

// sys.sc(nr, a..f): numbers in, >= 0 or -errno out.
static JSValue js_syscall(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  int64_t args[7] = {0};
  for (int i = 0; i < argc && i < 7; i++)
    if (JS_ToInt64(ctx, &args[i], argv[i])) return JS_EXCEPTION;
  return JS_NewInt64(ctx, raw_syscall(args[0], args + 1));
}

static void say(const char *text) {
  size_t length = strlen(text);
  sys(SYS_write, 2, (int64_t)text, length, 0, 0, 0);
  long fd = sys(SYS_openat, AT_FDCWD, (int64_t) "/dev/kmsg", O_WRONLY | O_CLOEXEC, 0, 0, 0);
  if (fd < 0) return;
  sys(SYS_write, fd, (int64_t)text, length > 900 ? 900 : length, 0, 0, 0); // the kernel takes 992 bytes a record
  sys(SYS_close, fd, 0, 0, 0, 0, 0);
}

// Says what was thrown and where, to standard error and to the kernel's log.
static void report(JSContext *ctx) {
  JSValue thrown = JS_GetException(ctx);
  JSValue stack = JS_IsObject(thrown) ? JS_GetPropertyStr(ctx, thrown, "stack") : JS_UNDEFINED;
  const char *what = JS_ToCString(ctx, thrown), *where = JS_ToCString(ctx, stack);
  char text[4096] = "squib-agent: uncaught ";
  strncat(text, what ? what : "exception", 2000);
  strcat(text, "\n");
  if (where && JS_IsString(stack)) strncat(text, where, 2000);
  say(text);
}

// The end of PID 1 is the end of the machine: a restart, which QEMU with -no-reboot turns into its exit.
static void finish(int code) {
  if (sys(SYS_getpid, 0, 0, 0, 0, 0, 0) == 1)
    sys(SYS_reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, RB_AUTOBOOT, 0, 0, 0);
  for (;;) sys(SYS_exit_group, code, 0, 0, 0, 0, 0);
}

static JSValue strings(JSContext *ctx, char **list) {
  JSValue array = JS_NewArray(ctx);
  for (uint32_t i = 0; list[i]; i++) JS_SetPropertyUint32(ctx, array, i, JS_NewString(ctx, list[i]));
  return array;
}

// The engine has copied the bytecode; its pages, which the file keeps, need not count as ours.
static void forget_bytecode(void) {
  uintptr_t from = ((uintptr_t)agent_bytecode + 4095) & -4096, to = (uintptr_t)agent_bytecode_end & -4096;
  if (to > from) madvise((void *)from, to - from, MADV_DONTNEED);
}

static void keep(JSRuntime *rt, void *opaque, void *ptr) {} // the arena is never freed

// The global `host`, as src/agent/sys/sys.ts declares it.
static void expose(JSContext *ctx, char **argv, char **envp) {
  JSValue global = JS_GetGlobalObject(ctx), host = JS_NewObject(ctx), primitive = JS_NewObject(ctx);
  JS_SetPropertyStr(ctx, primitive, "arch", JS_NewString(ctx, ARCH));
  JS_SetPropertyStr(ctx, primitive, "base", JS_NewInt64(ctx, ARENA_BASE));
  JS_SetPropertyStr(ctx, primitive, "size", JS_NewInt64(ctx, ARENA_BYTES));
  JS_SetPropertyStr(ctx, primitive, "memory",
                    JS_NewArrayBuffer(ctx, (uint8_t *)ARENA_BASE, ARENA_BYTES, keep, NULL, 0));
  JS_SetPropertyStr(ctx, primitive, "sc", JS_NewCFunction(ctx, js_syscall, "sc", 7));
  JS_SetPropertyStr(ctx, host, "sys", primitive);
  JS_SetPropertyStr(ctx, host, "args", strings(ctx, argv));
  JS_SetPropertyStr(ctx, host, "env", strings(ctx, envp));
  JS_SetPropertyStr(ctx, global, "host", host);
  JS_FreeValue(ctx, global);
}

int main(int argc, char **argv, char **envp) {
  void *arena = mmap((void *)ARENA_BASE, ARENA_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  JSRuntime *rt = JS_NewRuntime2(&heap, NULL);
  JSContext *ctx = rt ? JS_NewContextRaw(rt) : NULL;
  if (arena != (void *)ARENA_BASE || !ctx) {
    say("squib-agent: no memory for the arena or the engine\n");
    finish(255);
  }
  JS_SetGCThreshold(rt, GC_THRESHOLD_BYTES);
  JS_AddIntrinsicBaseObjects(ctx);
  JS_AddIntrinsicMapSet(ctx);
  JS_AddIntrinsicTypedArrays(ctx);
  expose(ctx, argv, envp);
  JSValue script = JS_ReadObject(ctx, agent_bytecode, agent_bytecode_end - agent_bytecode, JS_READ_OBJ_BYTECODE);
  forget_bytecode();
  JSValue result = JS_IsException(script) ? script : JS_EvalFunction(ctx, script);
  if (!JS_IsException(result)) finish(0);
  report(ctx);
  finish(255);
}
