/* Projections and linear minima over shares with caps and floors: the set {w : sum w = total, lo <= w <= hi}.
 *
 * All functions are pure: no globals, no Python, safe to call from several threads without the GIL. Their sums run in
 * four fixed lanes, so the answer is the same on every machine that follows IEEE 754, whatever its vector width.
 */
#ifndef MIXFAST_PROJECTION_H
#define MIXFAST_PROJECTION_H

#include <stddef.h>

enum { MF_OK = 0, MF_NO_MEMORY = -1, MF_INFEASIBLE = -2 };

/* out = argmin |out - x|^2 over the set. Finite x; lo <= hi; hi may be +inf. The bounds hold exactly, the sum to
 * rounding. MF_INFEASIBLE if sum lo > total or sum hi < total (beyond rounding), or if x is not finite or a bound is
 * NaN. out may be x. */
int mf_project(const double *x, const double *lo, const double *hi, ptrdiff_t n, double total, double *out);

/* out = argmin of the divergence sum_j out_j log(out_j / x_j) over the set. Finite x >= 0; shares keep their order of
 * magnitude, however small they are. MF_INFEASIBLE also if the x above 0 have too little room. out may be x. */
int mf_kl_project(const double *x, const double *lo, const double *hi, ptrdiff_t n, double total, double *out);

/* out = a vertex of the set that minimises <g, out>; equal g are filled in the order of their index. */
int mf_linear_min(const double *g, const double *lo, const double *hi, ptrdiff_t n, double total, double *out);

#endif
