/* Elementwise loops of the Gaussian process: Matern-5/2 values and slopes from scaled distances.
 *
 * Inner products are those of features in length scales; norms are the features' own. Pure and without the GIL. */
#ifndef MIXFAST_MATERN_H
#define MIXFAST_MATERN_H

#include <stddef.h>

/* One row of n pairs: s = sqrt(5) r and e = exp(-s) from inner products; scale is scratch. */
void mf_decay(ptrdiff_t n, const double *restrict gram, double norm, const double *restrict norms, double *restrict s,
              double *restrict e, double *restrict scale);

/* One row of n pairs: covariances k, and h = -2 dk/d(r^2) of the Matern part. k may be the array that s and e were
 * computed from. */
void mf_covary(ptrdiff_t n, const double *restrict s, const double *restrict e, const double *restrict linear,
               double amplitude, double slope, double *restrict k, double *restrict h);

/* Lower triangles (n, n) of the covariance of runs, k, and of -2 dk/d(r^2) of the Matern part, h: 0 above and on the
 * diagonal. Returns 0, or -1 when memory runs out, as do the others. */
int mf_covariance(ptrdiff_t n, const double *gram, const double *norms, const double *linear, double amplitude,
                  double slope, double noise, double *k, double *h);

/* Correlations k (m, n) of every row with every column; k may be gram. When h is given, also -2 dk/d(r^2) alpha. */
int mf_matern(ptrdiff_t m, ptrdiff_t n, const double *gram, const double *rows, const double *columns,
              const double *alpha, double *k, double *h);

#endif
