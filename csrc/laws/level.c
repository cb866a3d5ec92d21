#include <math.h>
#include <stdlib.h>

#include "../shared/exp.h"
#include "../shared/interrupt.h"
#include "../shared/simd.h"
#include "dual.h"

#define PASSES 100
/* Tolerance of the sum of shares, and a larger one for limits that leave no freedom. */
#define SUM 1e-15
#define LIMITS 1e-9
#define TINY 1e-300
/* When a share becomes free at a level, the search goes this much further, so that rounding does not keep the share at
 * its bound. */
#define NUDGE 1e-6

/* The shares at a level: their sum minus 1, and the sum of those that are free. `x` gets them without limits. */
typedef struct {
    double excess, room;
} level_sums;

MF_CLONES(static, level_sums, clip_at,
          (ptrdiff_t n, const double *restrict t, double level, const double *restrict low, const double *restrict high,
           double *restrict x, double *restrict w, double *restrict free, double *restrict work),
          (n, t, level, low, high, x, w, free, work)) {
    level_sums found = {-1.0, 0.0};
    /* Shares are at most 1, so larger values do not matter and must not overflow. */
    for (ptrdiff_t k = 0; k < n; k++) x[k] = t[k] + level < 1.0 ? t[k] + level : 1.0;
    mf_exp(n, x, work);
    /* `mf_exp` ends at -700. */
    for (ptrdiff_t k = 0; k < n; k++)
        if (!(t[k] + level >= MF_LOWEST_EXPONENT)) x[k] = exp(t[k] + level);
    for (ptrdiff_t k = 0; k < n; k++) {
        double raised = x[k] > low[k] ? x[k] : low[k];
        w[k] = raised < high[k] ? raised : high[k];
        free[k] = w[k] == x[k] ? 1.0 : 0.0;
    }
    double sum = 0.0, room = 0.0;
    for (ptrdiff_t k = 0; k < n; k++) sum += w[k], room += w[k] * free[k];
    found.excess = sum - 1.0, found.room = room;
    return found;
}

/* The next level at which another share becomes free: below `high` when the sum is too large, else above `low`. */
static double next_level(ptrdiff_t n, const double *t, const double *low, const double *high, const double *x,
                         const double *w, int too_large) {
    double found = too_large ? -INFINITY : INFINITY;
    for (ptrdiff_t k = 0; k < n; k++) {
        if (too_large && x[k] > high[k]) found = fmax(found, log(fmax(high[k], TINY)) - t[k]);
        if (!too_large && w[k] < high[k]) found = fmin(found, log(fmax(low[k], TINY)) - t[k]);
    }
    return too_large ? found - NUDGE : found + NUDGE;
}

/* The sum is piecewise linear and increasing in exp(level): Newton's method, with bisection as a fallback. */
int mf_shares_at_level(ptrdiff_t n, const double *t, const double *low, const double *high, double *level, double *w,
                       double *free, double *work) {
    double below = -INFINITY, above = INFINITY, *x = work + n;
    for (int pass = 0; pass < PASSES; pass++) {
        if (mf_interrupted(32.0 * (double)n)) return 0;
        level_sums at = clip_at(n, t, *level, low, high, x, w, free, work);
        double next;
        if (fabs(at.excess) <= SUM) return 1;
        if (at.excess > 0.0)
            above = *level;
        else
            below = *level;
        if (at.room > fmax(at.excess, TINY))
            next = *level + log1p(-at.excess / at.room);
        else
            next = next_level(n, t, low, high, x, w, at.excess > 0.0);
        if (!(below < next && next < above)) {
            /* All shares at their caps with a sum below 1, or at their floors with a sum above 1, is a rounding error
             * of the limits. */
            if (!(isfinite(below) && isfinite(above))) return fabs(at.excess) <= LIMITS;
            next = 0.5 * (below + above);
        }
        if (next == *level || next == below || next == above) {
            /* If the level is in the thousands, its rounding limits the accuracy of the shares. */
            for (ptrdiff_t k = 0; at.room > TINY && k < n; k++)
                if (free[k] != 0.0) w[k] = fmin(fmax(w[k] * (1.0 - at.excess / at.room), low[k]), high[k]);
            return 1;
        }
        *level = next;
    }
    return 0;
}

/* A share without limits, its cap, and the factor that raises it to the cap. */
typedef struct {
    double factor, share, cap;
} capped;

static int by_factor(const void *left, const void *right) {
    double a = ((const capped *)left)->factor, b = ((const capped *)right)->factor;
    return (a > b) - (a < b);
}

double mf_first_level(ptrdiff_t n, const double *t, const double *high, double *work) {
    capped *shares = (capped *)work;
    double top = -INFINITY, at_caps = 0.0;
    for (ptrdiff_t k = 0; k < n; k++) top = fmax(top, t[k]);
    for (ptrdiff_t k = 0; k < n; k++) {
        double share = exp(t[k] - top);
        shares[k] = (capped){high[k] / fmax(share, TINY), share, high[k]};
    }
    /* In this order the shares reach their caps. When share i does so, all before it have done so. */
    qsort(shares, (size_t)n, sizeof *shares, by_factor);
    /* From the smallest share to the largest: each sum is of this share and those that reach their caps later. */
    for (ptrdiff_t i = n - 2; i >= 0; i--) shares[i].share += shares[i + 1].share;
    ptrdiff_t i = 0;
    while (i < n - 1 && at_caps + shares[i].factor * shares[i].share < 1.0) at_caps += shares[i++].cap;
    return log(fmax((1.0 - at_caps) / fmax(shares[i].share, TINY), TINY)) - top;
}
