/* The exact proposal of log-linear laws: Newton's method on its dual, in as many unknowns as there are metrics.
 *
 * The objective is sum_j exp(log_weight_j + a_j.w) + linear.w + kl sum_k w_k log(w_k / prior_k), for shares w that sum
 * to 1 within limits. For given slopes its optimal shares are known but for one number, the level:
 * w_k = clip(exp(log_prior_k - slope_k / kl + level), low_k, high_k). See optimise/dual.py for the method. */
#ifndef MIXFAST_DUAL_H
#define MIXFAST_DUAL_H

#include <stddef.h>

/* A proposal over `domains` shares, with `metrics` exponentials. `a` is (metrics, domains). */
typedef struct {
    ptrdiff_t metrics, domains;
    const double *a, *log_weight, *linear, *log_prior, *low, *high;
    double kl;
} mf_proposal;

/* The limits of the search: steps, halvings of a step, the rise that is enough as a fraction of the predicted one, the
 * rounding error of a value, and the distance of the exponents from those of the shares at which it ends. */
typedef struct {
    int least, most, halvings;
    double armijo, rounding, close;
} mf_ascent;

/* Climb from the exponents z (metrics), at least `least` and at most `most` steps, until the exponents are close to
 * those of the shares. `level` is a guess of the level, infinite for none. Updates both, and fills the shares w
 * (domains) and log_prior - slope / kl + level, the logarithms of shares without limits. Returns the steps taken; -1
 * without memory, -2 when the dual is not finite, when no level is found or no step raises the dual. */
int mf_ascend(const mf_proposal *proposal, const mf_ascent *rules, double *z, double *level, double *w, double *logs);

/* Fill w (n) with the shares clip(exp(t + level), low, high) of sum 1, searching from `level`, and `free` with 1 where
 * the limits leave a share as it is, else 0. `work` holds 2 n doubles. Returns 0 when the search does not converge. */
int mf_shares_at_level(ptrdiff_t n, const double *t, const double *low, const double *high, double *level, double *w,
                       double *free, double *work);

/* The level at which min(exp(t + level), high) sums to 1, up to underflow and overflow. `work` holds 3 n doubles. */
double mf_first_level(ptrdiff_t n, const double *t, const double *high, double *work);

#endif
