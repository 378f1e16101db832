/* Vectors of float as wide as the processor's, through the compiler's vector extension. */
#ifndef GRADSIFT_VECTORS_H
#define GRADSIFT_VECTORS_H

#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

static inline vec load(const float *from) { return *(const vec *)from; }

static inline void store(float *to, vec value) { *(vec *)to = value; }

static inline float sum_of(vec value) {
  float sum = 0.0f;
  for (int lane = 0; lane < LANES; lane++) sum += value[lane];
  return sum;
}

/* Whether all numbers are 0 or -0. Looks at their bits, sixteen at a time: most rows are told from zero at once. */
static inline int is_zero(const float *values, long count) {
  for (long first = 0; first < count; first += 16) {
    uint32_t any = 0;
    for (long k = first; k < first + 16 && k < count; k++) {
      uint32_t bits;
      memcpy(&bits, values + k, sizeof bits);
      any |= bits << 1;
    }
    if (any) return 0;
  }
  return 1;
}

static inline long smaller(long left, long right) { return left < right ? left : right; }

static inline long divided_up(long value, long by) { return (value + by - 1) / by; }

#endif
