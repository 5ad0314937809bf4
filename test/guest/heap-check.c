// Drives guest/heap.c with random blocks, each filled with its own pattern: heap-check SEED STEPS. A block
// that overlaps another, loses its content over a resize or is counted wrong ends the program with a message.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "quickjs.h"

extern const JSMallocFunctions heap;

#define LIVE_MAX 4000
static unsigned char *blocks[LIVE_MAX];
static size_t sizes[LIVE_MAX];
static unsigned char marks[LIVE_MAX];
static unsigned long long state;

static unsigned next(unsigned below) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33) % below;
}

// Mostly small, as the engine's are; sometimes a table or a message.
static size_t any_size(void) {
  switch (next(16)) {
    case 0: return 1 + next(200000);
    case 1: return 1 + next(9000);
    case 2: return 1020 + next(10);
    default: return 1 + next(300);
  }
}

static void fail(const char *what, int i) {
  printf("heap-check: %s (block %d, %zu bytes)\n", what, i, sizes[i]);
  exit(1);
}

static void check(int i, size_t bytes) {
  for (size_t k = 0; k < bytes; k++)
    if (blocks[i][k] != marks[i]) fail("content changed", i);
}

static void fill(int i) {
  marks[i] = (unsigned char)(1 + next(255));
  memset(blocks[i], marks[i], sizes[i]);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  JSMallocState s = {0, 0, (size_t)-1, NULL};
  state = strtoull(argv[1], NULL, 10);
  size_t total = 0;
  for (long steps = atol(argv[2]); steps-- > 0;) {
    int i = next(LIVE_MAX);
    if (!blocks[i] || next(4) == 0) {
      size_t size = any_size();
      if (total - sizes[i] + size > (16 << 20)) continue;
      unsigned char *moved = heap.js_realloc(&s, blocks[i], size);
      if (!moved) fail("no memory for a resize", i);
      if ((size_t)moved % 8) fail("not aligned", i);
      if (heap.js_malloc_usable_size(moved) < size) fail("smaller than asked", i);
      size_t kept = blocks[i] ? (sizes[i] < size ? sizes[i] : size) : 0;
      blocks[i] = moved;
      check(i, kept);
      total += size - sizes[i];
      sizes[i] = size;
      fill(i);
    } else {
      check(i, sizes[i]);
      heap.js_free(&s, blocks[i]);
      total -= sizes[i];
      blocks[i] = NULL;
      sizes[i] = 0;
    }
  }
  for (int i = 0; i < LIVE_MAX; i++) {
    if (blocks[i]) check(i, sizes[i]);
    heap.js_free(&s, blocks[i]);
  }
  if (s.malloc_count || s.malloc_size) fail("counted wrong", 0);
  if (heap.js_malloc(&s, (size_t)1 << 62) || heap.js_malloc(&s, 60 << 20)) fail("more than there is", 0);
  printf("ok\n");
  return 0;
}
