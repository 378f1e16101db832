/* The weight gradient of a matrix product, with every sample's norm and dot product taken on the way.
 *
 * For a (batch, length, in) and b (batch, length, out), sample i's weight gradient is G_i = b_i^T a_i (out, in).
 * One block of the weight after the other, one sample after the other, one tile of TILE_OUT x TILE_IN after the
 * other: G_i's tile is computed in registers, squared and summed there for |G_i|^2, multiplied with the
 * direction's tile for <G_i, D>, and added to the sum over samples, which stays in the second-level cache.
 * No G_i is ever written to memory, and nothing is multiplied twice.
 *
 * The packing of panels and the tile in registers are those of any fast matrix product: Goto and van de Geijn,
 * "Anatomy of high-performance matrix multiplication", 2008. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

#define TILE_OUT 6 /* by two vectors: twelve accumulators, which with their operands fill sixteen registers */
#define TILE_IN (2 * LANES)
#define TILE (TILE_OUT * TILE_IN)
#define BLOCK_OUT 96
#define BLOCK_IN 256
#define LINE 16 /* floats of a cache line */

typedef struct {
  const float *a, *b, *direction; /* direction: (out, in) or NULL */
  const int32_t *starts, *ends;   /* (batch,): the rows of sample i that count */
  long batch, length, in, out;
} problem;

typedef struct {
  long out, in, height, width; /* where it begins, and its size */
} block;

typedef struct {
  float *a, *b, *total, *direction;
} buffers;

/* (rows, width) to panels of `panel` columns, (rows, panel) each, with zeros beyond the width. */
static inline __attribute__((always_inline)) void pack(const float *from, long stride, long rows, long width,
                                                       const int panel, float *to) {
  long whole = width / panel, rest = width % panel;
  for (long row = 0; row < rows; row++, from += stride, to += panel) {
    float *at = to;
    for (long p = 0; p < whole; p++, at += rows * panel)
      for (int k = 0; k < panel; k++) at[k] = from[p * panel + k];
    for (int k = 0; rest && k < panel; k++) at[k] = k < rest ? from[whole * panel + k] : 0.0f;
  }
}

/* Two panels' product: row o of the tile is tile[2 o] and tile[2 o + 1]. */
static inline __attribute__((always_inline)) void multiply(long rows, const float *restrict b,
                                                           const float *restrict a, vec *restrict tile) {
  vec c00 = {0}, c10 = {0}, c20 = {0}, c30 = {0}, c40 = {0}, c50 = {0};
  vec c01 = {0}, c11 = {0}, c21 = {0}, c31 = {0}, c41 = {0}, c51 = {0};
  for (long row = 0; row < rows; row++, a += TILE_IN, b += TILE_OUT) {
    vec left = load(a), right = load(a + LANES);
#define ADD(o) c##o##0 += b[o] * left, c##o##1 += b[o] * right
    ADD(0), ADD(1), ADD(2), ADD(3), ADD(4), ADD(5);
#undef ADD
  }
#define WRITE(o) tile[2 * o] = c##o##0, tile[2 * o + 1] = c##o##1
  WRITE(0), WRITE(1), WRITE(2), WRITE(3), WRITE(4), WRITE(5);
#undef WRITE
}

/* Asks for a share of the next sample's rows, which lie too far apart for the processor to foresee them. */
static inline __attribute__((always_inline)) long prefetch(const problem *p, const block *at, long sample,
                                                           long row, long rows) {
  if (sample >= p->batch) return row;
  long first = sample * p->length + p->starts[sample], last = smaller(row + rows, p->ends[sample] - p->starts[sample]);
  for (; row < last; row++) {
    const float *a = p->a + (first + row) * p->in + at->in, *b = p->b + (first + row) * p->out + at->out;
    for (long k = 0; k < at->width; k += LINE) __builtin_prefetch(a + k);
    for (long k = 0; k < at->height; k += LINE) __builtin_prefetch(b + k);
  }
  return row;
}

static void load_direction(const problem *p, const block *at, long panels_out, float *to) {
  memset(to, 0, panels_out * divided_up(at->width, TILE_IN) * TILE * sizeof(float));
  for (long o = 0; o < at->height; o++)
    for (long i = 0; i < at->width; i++)
      to[(i / TILE_IN * panels_out + o / TILE_OUT) * TILE + o % TILE_OUT * TILE_IN + i % TILE_IN] =
          p->direction[(at->out + o) * p->in + at->in + i];
}

static void store_total(const problem *p, const block *at, long panels_out, const float *from, float *total) {
  for (long o = 0; o < at->height; o++)
    for (long i = 0; i < at->width; i += TILE_IN)
      memcpy(total + (at->out + o) * p->in + at->in + i,
             from + (i / TILE_IN * panels_out + o / TILE_OUT) * TILE + o % TILE_OUT * TILE_IN,
             smaller(TILE_IN, at->width - i) * sizeof(float));
}

static void add_sample(const problem *p, const block *at, long sample, const buffers *own, double *norm_sq,
                       double *dot) {
  long rows = p->ends[sample] - p->starts[sample], first = sample * p->length + p->starts[sample];
  *norm_sq = *dot = 0.0;
  if (rows <= 0) return;
  pack(p->a + first * p->in + at->in, p->in, rows, at->width, TILE_IN, own->a);
  pack(p->b + first * p->out + at->out, p->out, rows, at->height, TILE_OUT, own->b);
  long panels_out = divided_up(at->height, TILE_OUT), panels_in = divided_up(at->width, TILE_IN);
  long ahead = divided_up(p->length, panels_out * panels_in), asked = 0;
  float *total = own->total, *direction = own->direction;
  for (long i = 0; i < panels_in; i++) {
    vec squares[2] = {{0}}, products[2] = {{0}};
    for (long o = 0; o < panels_out; o++, total += TILE, direction += TILE) {
      vec tile[2 * TILE_OUT];
      asked = prefetch(p, at, sample + 1, asked, ahead);
      multiply(rows, own->b + o * TILE_OUT * rows, own->a + i * TILE_IN * rows, tile);
      for (int k = 0; k < 2 * TILE_OUT; k++) {
        squares[k & 1] += tile[k] * tile[k];
        store(total + k * LANES, load(total + k * LANES) + tile[k]);
      }
      if (p->direction)
        for (int k = 0; k < 2 * TILE_OUT; k++) products[k & 1] += tile[k] * load(direction + k * LANES);
    }
    *norm_sq += sum_of(squares[0] + squares[1]);
    *dot += sum_of(products[0] + products[1]);
  }
}

/* As many blocks as keep the sum of one in cache, and every thread equally busy. */
static long block_height(long out, long blocks_in, int threads) {
  long blocks = divided_up(out, BLOCK_OUT);
  while (blocks * blocks_in % threads && blocks < 4 * threads && out / blocks > 4 * TILE_OUT) blocks++;
  return divided_up(divided_up(out, blocks), TILE_OUT) * TILE_OUT;
}

static void reduce_block(const problem *p, const block *at, const buffers *own, float *total, double *partial) {
  long panels_out = divided_up(at->height, TILE_OUT);
  memset(own->total, 0, panels_out * divided_up(at->width, TILE_IN) * TILE * sizeof(float));
  if (p->direction) load_direction(p, at, panels_out, own->direction);
  for (long sample = 0; sample < p->batch; sample++)
    add_sample(p, at, sample, own, partial + 2 * sample, partial + 2 * sample + 1);
  store_total(p, at, panels_out, own->total, total);
}

/* total (out, in): sum_i G_i. norm_sq and dots (batch,): |G_i|^2 and <G_i, direction>, dots only with a
 * direction. Returns 0, or 1 if there was no memory: then nothing that it wrote is to be used. */
int gradsift_outer(const float *a, const float *b, const float *direction, const int32_t *starts,
                   const int32_t *ends, long batch, long length, long in, long out, float *total, float *norm_sq,
                   float *dots, int threads) {
  const problem p = {a, b, direction, starts, ends, batch, length, in, out};
  long blocks_in = divided_up(in, BLOCK_IN), height = block_height(out, blocks_in, threads);
  long blocks = divided_up(out, height) * blocks_in;
  long size_a = length * (BLOCK_IN + TILE_IN), size_b = length * (height + TILE_OUT);
  long size_total = (height + TILE_OUT) * (BLOCK_IN + TILE_IN);
  double *partial = malloc(2 * blocks * batch * sizeof(double)); /* (blocks, batch, 2) */
  int failed = !partial;
#pragma omp parallel num_threads(threads)
  {
    float *memory = failed ? NULL : malloc((size_a + size_b + 2 * size_total) * sizeof(float));
    if (!memory)
#pragma omp atomic write
      failed = 1;
    const buffers own = {memory, memory + size_a, memory + size_a + size_b, memory + size_a + size_b + size_total};
#pragma omp for schedule(dynamic, 1)
    for (long k = 0; k < blocks; k++) {
      long row = k / blocks_in * height, column = k % blocks_in * BLOCK_IN;
      const block at = {row, column, smaller(height, out - row), smaller(BLOCK_IN, in - column)};
      if (memory) reduce_block(&p, &at, &own, total, partial + 2 * k * batch);
    }
    free(memory);
  }
  for (long sample = 0; !failed && sample < batch; sample++) {
    double square = 0.0, product = 0.0;
    for (long k = 0; k < blocks; k++) {
      square += partial[2 * (k * batch + sample)];
      product += partial[2 * (k * batch + sample) + 1];
    }
    norm_sq[sample] = (float)square;
    if (direction) dots[sample] = (float)product;
  }
  free(partial);
  return failed;
}
