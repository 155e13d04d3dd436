/* A library's calls, timed one by one with nothing between them: trees_worker.py compiles this, and hands over the
 * addresses of the functions. Call number i asks slice i % slices of the rows. Returns how many calls were timed. */
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef int (*mw_predict)(const void *, int, int, int, const float *, size_t, size_t, const void *, size_t, void *);
typedef void (*tl2cgen_predict)(const void *, int, float *);

typedef struct {
  void *function; /* mw_predict, or the predict of tl2cgen's code */
  const void *model;
  int threads;
  const float *rows; /* for tl2cgen: the same, with the integer -1 in place of NaN */
  size_t n, width, slices;
  void *out;
} work;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int call(const work *w, size_t i) {
  const float *rows = w->rows + i % w->slices * w->n * w->width;
  if (w->model) /* its answers, by the plan it chooses */
    return ((mw_predict)w->function)(w->model, 0, 0, w->threads, rows, w->n, w->width, NULL, 0, w->out);
  float *out = w->out;
  memset(out, 0, w->n * sizeof *out); /* it adds to what is there */
  for (size_t r = 0; r < w->n; r++) ((tl2cgen_predict)w->function)(rows + r * w->width, 0, out + r);
  return 0;
}

/* Untimed for `warm` ns, then timed for `duration` ns, at least once and at most `most` times; -1: the call failed. */
long timed(const work *w, size_t first, int64_t warm, int64_t duration, long most, int64_t *times) {
  size_t i = first;
  const int64_t begin = now();
  while (now() - begin < warm)
    if (call(w, i++)) return -1;
  const int64_t end = now() + duration;
  long count = 0;
  for (int64_t before = now(), after; count == 0 || (count < most && before < end); before = after) {
    if (call(w, i++)) return -1;
    after = now();
    times[count++] = after - before;
  }
  return count;
}
