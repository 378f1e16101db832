/* Which rows of a gradient are not zero, and each sample's sum over them, in one pass. */
#include <stdint.h>
#include <string.h>

#include "vectors.h"

/* values (batch, length, width). starts, ends (batch,): the shortest stretch that holds every row which is not
 * all zero, 0:0 where there is none; a NaN is not zero. sums (batch, width): over all rows, or NULL. */
void gradsift_rows(const float *values, long batch, long length, long width, int32_t *starts, int32_t *ends,
                   float *sums, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long sample = 0; sample < batch; sample++) {
    long start = 0, end = 0;
    float *sum = sums ? sums + sample * width : NULL;
    if (sum) memset(sum, 0, width * sizeof(float));
    for (long row = 0; row < length; row++) {
      const float *at = values + (sample * length + row) * width;
      if (is_zero(at, width)) continue;
      if (!end) start = row;
      end = row + 1;
      for (long k = 0; sum && k < width; k++) sum[k] += at[k];
    }
    starts[sample] = (int32_t)start;
    ends[sample] = (int32_t)end;
  }
}
