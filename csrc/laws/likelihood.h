/* The log marginal likelihood of one Gaussian process and its slopes.
 *
 * The covariance of runs is amplitude * matern52(|z - z'|) + slope * linear + noise * I, the mean a constant that is
 * estimated by generalised least squares. Pure and without the GIL. */
#ifndef MIXFAST_LIKELIHOOD_H
#define MIXFAST_LIKELIHOOD_H

#include <stddef.h>

typedef struct {
    double fit;          /* (t - mean)' K^-1 (t - mean) */
    double half_log_det; /* log det K / 2 */
    double mean;         /* the constant */
    double trace;        /* tr A, A = alpha alpha' - K^-1 */
    double linear;       /* tr(A linear) */
} mf_likelihood_parts;

/* Number of doubles in the work area for this many runs and features. */
size_t mf_likelihood_memory(ptrdiff_t runs, ptrdiff_t dims);

/* z (runs, dims) in length scales, linear (runs, runs), target (runs). `memory` must hold zeros the first time and
 * belong to one thread. Fills alpha = K^-1 (t - mean) (runs), the diagonal of K^-1 (runs), and for each dimension the
 * derivative of minus the log likelihood by minus its log length (dims). Returns 0 when K is not positive definite. */
int mf_likelihood(ptrdiff_t runs, ptrdiff_t dims, const double *z, const double *linear, const double *target,
                  double amplitude, double slope, double noise, double *memory, double *alpha, double *diagonal,
                  double *on_length, mf_likelihood_parts *parts);

#endif
