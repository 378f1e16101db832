/* The backward pass of layer normalisation, with every sample's scale and shift gradient.
 *
 * With x_hat = (x - mean) rstd and g' = g w, of each row
 *   dx = rstd (g' - mean(g') - x_hat mean(g' x_hat)),
 * and of each sample, over its rows, sum g x_hat for the scale and sum g for the shift. A row whose gradient is
 * zero adds nothing and gets none. */
#include <stddef.h>
#include <string.h>

#include "vectors.h"

typedef struct {
  float gradient, product; /* means over the row of g' and g' x_hat */
} row_means;

static row_means add_row(const float *g, const float *x, float mean, float rstd, const float *weight, long width,
                         float *scale, float *shift) {
  vec sums = {0}, products = {0};
  float sum = 0.0f, product = 0.0f;
  long k = 0;
  for (; k + LANES <= width; k += LANES) {
    vec x_hat = (load(x + k) - mean) * rstd, own = load(g + k);
    if (scale) store(scale + k, load(scale + k) + own * x_hat);
    if (shift) store(shift + k, load(shift + k) + own);
    if (weight) own *= load(weight + k);
    sums += own;
    products += own * x_hat;
  }
  for (; k < width; k++) {
    float x_hat = (x[k] - mean) * rstd, own = g[k];
    if (scale) scale[k] += own * x_hat;
    if (shift) shift[k] += own;
    if (weight) own *= weight[k];
    sum += own;
    product += own * x_hat;
  }
  return (row_means){(sum + sum_of(sums)) / width, (product + sum_of(products)) / width};
}

static void row_gradient(const float *g, const float *x, float mean, float rstd, const float *weight, long width,
                         row_means means, float *restrict to) {
  for (long k = 0; k < width; k++) {
    float own = weight ? g[k] * weight[k] : g[k];
    to[k] = rstd * (own - means.gradient - (x[k] - mean) * rstd * means.product);
  }
}

/* gradient, values, grad_values (batch, length, width); mean, rstd (batch, length); weight (width,) or NULL;
 * scales, shifts (batch, width). Of the three results each may be NULL. */
void gradsift_layer_norm(const float *gradient, const float *values, const float *mean, const float *rstd,
                         const float *weight, long batch, long length, long width, float *grad_values,
                         float *scales, float *shifts, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long sample = 0; sample < batch; sample++) {
    float *scale = scales ? scales + sample * width : NULL, *shift = shifts ? shifts + sample * width : NULL;
    if (scale) memset(scale, 0, width * sizeof(float));
    if (shift) memset(shift, 0, width * sizeof(float));
    for (long row = sample * length; row < (sample + 1) * length; row++) {
      const float *g = gradient + row * width, *x = values + row * width;
      float *to = grad_values ? grad_values + row * width : NULL;
      if (is_zero(g, width)) {
        if (to) memset(to, 0, width * sizeof(float));
        continue;
      }
      row_means means = add_row(g, x, mean[row], rstd[row], weight, width, scale, shift);
      if (to) row_gradient(g, x, mean[row], rstd[row], weight, width, means, to);
    }
  }
}
