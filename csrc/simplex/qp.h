/* The K-dimensional Newton step over caps and floors:
 *
 *     min  g.d + 1/2 d'H d    over  lo <= w + d <= hi,  sum d = 0.
 *
 * H is symmetric positive semidefinite; the step has no part along singular directions. */
#ifndef MIXFAST_QP_H
#define MIXFAST_QP_H

#include <stddef.h>
#include <stdint.h>

/* hessian (n, n), gradient, w, lo, hi (n): w feasible. state (n) is -1 at lo, +1 at hi, 0 free: a guess coming
 * in, the answer going out. step (n) receives d, *level the multiplier of the sum, so that
 * (g + H d)_k + level is 0 when free, >= 0 at lo, <= 0 at hi.
 * Returns the number of active sets tried, or -1 when memory runs out, -2 when no exact answer was found, which is
 * given up after about a second (the step is then feasible and a descent direction, or zero). */
int mf_qp(ptrdiff_t n, const double *hessian, const double *gradient, const double *w, const double *lo,
          const double *hi, signed char *state, double *step, double *level);

/* m such steps: everything (m, n) but the Hessians (.., n, n), of which step j takes number which[j]. Returns how many
 * were taken: fewer than m when memory runs out. */
ptrdiff_t mf_qp_many(ptrdiff_t m, ptrdiff_t n, const double *hessian, const int64_t *which, const double *gradient,
                     const double *w, const double *lo, const double *hi, signed char *state, double *step);

/* Damped BFGS of the Hessians number which[j]: afterwards they map moved (m, n) to the observed change (m, n) of the
 * gradient. Returns 0, or -1 when memory runs out. */
int mf_bfgs_many(ptrdiff_t m, ptrdiff_t n, double *hessian, const int64_t *which, const double *moved,
                 const double *change);

#endif
