// Compiles one script to the bytecode of this very engine: compile SCRIPT NAME OUT [strip].
// NAME stands in stack traces; `strip` leaves line numbers out. Runs on the build machine only.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "quickjs.h"

static char *read_all(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) return NULL;
  *length = ftell(file);
  rewind(file);
  char *text = calloc(*length + 1, 1);
  if (!text || fread(text, 1, *length, file) != *length) return NULL;
  fclose(file);
  return text;
}

static int fail(JSContext *ctx) {
  JSValue thrown = JS_GetException(ctx);
  JSValue stack = JS_GetPropertyStr(ctx, thrown, "stack");
  fprintf(stderr, "compile: %s\n%s", JS_ToCString(ctx, thrown), JS_ToCString(ctx, stack));
  return 1;
}

int main(int argc, char **argv) {
  size_t length, size;
  if (argc < 4) return fprintf(stderr, "usage: compile SCRIPT NAME OUT [strip]\n"), 2;
  char *text = read_all(argv[1], &length);
  if (!text) return perror(argv[1]), 1;
  JSRuntime *rt = JS_NewRuntime();
  JSContext *ctx = JS_NewContext(rt);
  JS_SetStripInfo(rt, argc > 4 && !strcmp(argv[4], "strip") ? JS_STRIP_DEBUG : JS_STRIP_SOURCE);
  JSValue code = JS_Eval(ctx, text, length, argv[2],
                         JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_STRICT | JS_EVAL_FLAG_COMPILE_ONLY);
  if (JS_IsException(code)) return fail(ctx);
  uint8_t *bytes = JS_WriteObject(ctx, &size, code, JS_WRITE_OBJ_BYTECODE);
  if (!bytes) return fail(ctx);
  FILE *out = fopen(argv[3], "wb");
  if (!out || fwrite(bytes, 1, size, out) != size || fclose(out)) return perror(argv[3]), 1;
  return 0;
}
