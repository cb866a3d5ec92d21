#include "qp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/interrupt.h"

enum { AT_LO = -1, FREE = 0, AT_HI = 1 };

/* Multiplications, about a second, after which the active set that changes one domain at a time is given up. It may
 * not end if H is singular among hundreds of free domains. */
static const double MOST_WORK = 1e9;

/* RIDGE is added to the diagonal, as a fraction of each entry: H is singular if experts are copies of one another or
 * there are fewer rows than domains, and the rounding of its sums can make it indefinite. It is small enough for a step
 * along such a direction to go all the way to a bound, where the active set handles it; it grows tenfold as long as a
 * pivot is not positive. TRACE bounds the entry from below, relative to the curvature of the objective over the whole
 * step of a share to 0: a share of 1e-19 at its cap may have an entry of 1e37. SIGN is the relative rounding of a
 * gradient's sum. */
static const double RIDGE = 1e-11, RIDGE_GROWTH = 10.0, TRACE = 1e-25, SIGN = 1e-14;

/* A free share beyond its bound by less than this fraction of the share and its step is a rounding error. Not by this
 * much of 1: caps, and shares that some row needs, may be far smaller. */
static const double SLACK = 1e-14;

typedef struct {
    ptrdiff_t n, free;
    const double *H, *g, *w, *lo, *hi;
    signed char *state;
    ptrdiff_t *index;               /* the free domains */
    double *U;                      /* their Cholesky factor (free, free) */
    double *b, *ones;               /* right-hand sides, solved in place */
    double *step, *reduced, *noise; /* noise: bound on the rounding error of the reduced gradient */
    double
        *diagonal; /* the ridge is a fraction of this: H_kk, or TRACE times the largest H_jj w_j^2 if that is larger */
    double level, ridge;
} mf_step;

/* y += a x */
static inline void add(ptrdiff_t n, double a, const double *restrict x, double *restrict y) {
    for (ptrdiff_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* x . y, in four sums: one alone waits for each of its additions. */
static inline double dot(ptrdiff_t n, const double *x, const double *y) {
    double sum[4] = {0};
    ptrdiff_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++) sum[j] += x[i + j] * y[i + j];
    for (; i < n; i++) sum[0] += x[i] * y[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Cholesky factor U'U of H_FF + ridge; false if a pivot is lost to rounding. Values that are not finite pass through to
 * the step, where the caller sees them. The diagonal of U holds reciprocals. */
static int factor(mf_step *q) {
    const ptrdiff_t f = q->free;
    for (ptrdiff_t i = 0; i < f; i++) {
        const double *row = q->H + q->index[i] * q->n;
        for (ptrdiff_t j = i; j < f; j++) q->U[i * f + j] = row[q->index[j]];
    }
    for (ptrdiff_t i = 0; i < f; i++) {
        double *Ui = q->U + i * f;
        if (mf_interrupted((double)((f - i) * (f - i)) / 2)) return 1;
        const double ridge = q->ridge * q->diagonal[q->index[i]], pivot = Ui[i] + ridge;
        if (isfinite(pivot) && !(pivot > 0.1 * ridge)) return 0;
        Ui[i] = 1 / sqrt(pivot);
        for (ptrdiff_t j = i + 1; j < f; j++) Ui[j] *= Ui[i];
        for (ptrdiff_t j = i + 1; j < f; j++) add(f - j, -Ui[j], Ui + j, q->U + j * f + j);
    }
    return 1;
}

static void substitute(const mf_step *q, double *x) {
    const ptrdiff_t f = q->free;
    for (ptrdiff_t i = 0; i < f; i++) {
        x[i] *= q->U[i * f + i];
        add(f - i - 1, -x[i], q->U + i * f + i + 1, x + i + 1);
    }
    for (ptrdiff_t i = f - 1; i >= 0; i--)
        x[i] = (x[i] - dot(f - i - 1, q->U + i * f + i + 1, x + i + 1)) * q->U[i * f + i];
}

/* With the fixed domains at their bounds (offsets in `step`), the best step of the free ones:
 * H_FF d_F = -(g_F + H_FA d_A) - level, sum d = 0. False when nothing is free. */
static int solve_free(mf_step *q) {
    const ptrdiff_t n = q->n;
    double sum_ones = 0;
    q->free = 0;
    for (ptrdiff_t k = 0; k < n; k++) {
        if (q->state[k] == FREE) {
            q->index[q->free++] = k;
            q->step[k] = 0;
        } else {
            q->step[k] = (q->state[k] == AT_LO ? q->lo[k] : q->hi[k]) - q->w[k];
        }
    }
    if (!q->free) return 0;
    while (!factor(q)) q->ridge *= RIDGE_GROWTH;
    for (ptrdiff_t i = 0; i < q->free; i++) q->ones[i] = 1;
    substitute(q, q->ones);
    for (ptrdiff_t i = 0; i < q->free; i++) sum_ones += q->ones[i];
    q->level = 0;
    /* The second pass removes the cancellation error of large b and level; few problems need more. */
    for (int pass = 0; pass < 5; pass++) {
        double moved = 0, sum_b = 0, level;
        if (mf_interrupted((double)(q->free * (n + q->free)))) return 0;
        for (ptrdiff_t k = 0; k < n; k++) moved += q->step[k];
        if (pass > 1 && fabs(moved) < 1e-14) break;
        for (ptrdiff_t i = 0; i < q->free; i++) {
            const double *row = q->H + q->index[i] * n;
            q->b[i] = -(q->g[q->index[i]] + q->level + q->ridge * q->diagonal[q->index[i]] * q->step[q->index[i]] +
                        dot(n, row, q->step));
        }
        substitute(q, q->b);
        for (ptrdiff_t i = 0; i < q->free; i++) sum_b += q->b[i];
        level = (sum_b + moved) / sum_ones;
        for (ptrdiff_t i = 0; i < q->free; i++) q->step[q->index[i]] += q->b[i] - level * q->ones[i];
        q->level += level;
    }
    return 1;
}

/* (g + H d)_k + level for the k at a bound, and a bound on its error: one domain with a large gradient must not decide
 * the signs of the others. */
static void reduced_gradient(mf_step *q) {
    for (ptrdiff_t k = 0; k < q->n; k++) {
        const double *row = q->H + k * q->n;
        if (q->state[k] == FREE) continue;
        if (mf_interrupted((double)q->n)) return;
        double sum = q->g[k] + q->level + q->ridge * q->diagonal[k] * q->step[k], size = fabs(q->g[k]) + fabs(q->level);
        for (ptrdiff_t j = 0; j < q->n; j++) {
            double term = row[j] * q->step[j];
            sum += term;
            size += fabs(term);
        }
        q->reduced[k] = sum;
        q->noise[k] = SIGN * size;
    }
}

/* Fix the domains that a step with a diagonal Hessian would take to their floors, if no bound is active yet. After
 * expectation maximisation, the shares that go to 0 are small, and to find them one group after another takes up to 9
 * rounds, each with a factor. A larger share may be saved by the others, which that step does not see. The shares
 * average g to -level, so that some domain stays free. */
static void guess_floors(mf_step *q) {
    const double small = 0.03;
    double level = 0;
    for (ptrdiff_t k = 0; k < q->n; k++) {
        if (q->state[k] != FREE) return;
        level -= q->g[k] * q->w[k];
    }
    for (ptrdiff_t k = 0; k < q->n; k++) {
        const double share = q->w[k] - q->lo[k];
        if (share < small && share < (q->g[k] + level) / q->diagonal[k]) q->state[k] = AT_LO;
    }
}

/* Primal-dual active set (Hintermueller, Ito, Kunisch, SIAM J. Optim. 13 (2003)): every domain that violates its
 * bound or the sign of its multiplier changes sides at the same time. A few rounds usually suffice; it may cycle. */
static int primal_dual_active_set(mf_step *q, int rounds) {
    for (int round = 1; round <= rounds; round++) {
        int changed = 0;
        if (!solve_free(q)) return 0;
        reduced_gradient(q);
        if (mf_stopped()) return 0;
        for (ptrdiff_t k = 0; k < q->n; k++) {
            signed char old = q->state[k];
            if (old == FREE) {
                const double slack = SLACK * (q->w[k] + fabs(q->step[k]));
                if (q->w[k] + q->step[k] < q->lo[k] - slack) q->state[k] = AT_LO;
                if (q->w[k] + q->step[k] > q->hi[k] + slack) q->state[k] = AT_HI;
            } else if (q->lo[k] < q->hi[k]) {
                if (old == AT_LO && q->reduced[k] < -q->noise[k]) q->state[k] = FREE;
                if (old == AT_HI && q->reduced[k] > q->noise[k]) q->state[k] = FREE;
            }
            changed |= q->state[k] != old;
        }
        if (!changed) return round;
    }
    return 0;
}

/* Primal active set, one change at a time, from the feasible w: slower, and it does not cycle in practice
 * (Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 16.3). `at` (n) is the current offset from w. */
static int primal_active_set(mf_step *q, double *at, int rounds) {
    const ptrdiff_t n = q->n;
    for (ptrdiff_t k = 0; k < n; k++) {
        at[k] = 0;
        q->state[k] = q->w[k] <= q->lo[k] ? AT_LO : q->w[k] >= q->hi[k] ? AT_HI : FREE;
    }
    double work = 0;
    for (int round = 1; round <= rounds && work <= MOST_WORK; round++) {
        double reach = 1;
        ptrdiff_t block = -1, release = -1;
        if (mf_stopped()) return 0;
        const int solved = solve_free(q);
        work += (double)q->free * (double)q->free * (double)q->free / 6 + (double)n * (double)n;
        if (solved) {
            for (ptrdiff_t k = 0; k < n; k++) {
                double d = q->step[k] - at[k], room;
                if (q->state[k] != FREE || d == 0) continue;
                room = (d < 0 ? q->lo[k] : q->hi[k]) - (q->w[k] + at[k]);
                if (d < 0 ? room > d * reach : room < d * reach) {
                    reach = room / d > 0 ? room / d : 0;
                    block = k;
                }
            }
            for (ptrdiff_t k = 0; k < n; k++)
                if (q->state[k] == FREE) at[k] += reach * (q->step[k] - at[k]);
        }
        if (block >= 0) {
            double down = q->lo[block] - q->w[block], up = q->hi[block] - q->w[block];
            q->state[block] = fabs(at[block] - down) <= fabs(at[block] - up) ? AT_LO : AT_HI;
            at[block] = q->state[block] == AT_LO ? down : up;
            continue;
        }
        memcpy(q->step, at, (size_t)n * sizeof *at);
        if (!q->free) { /* every domain at a bound: the level of the cheapest exchange */
            double low = -INFINITY, high = INFINITY;
            ptrdiff_t give = -1, take = -1;
            q->level = 0;
            reduced_gradient(q);
            for (ptrdiff_t k = 0; k < n; k++) {
                if (q->lo[k] == q->hi[k]) continue;
                if (q->state[k] == AT_LO && q->reduced[k] < high) high = q->reduced[k], take = k;
                if (q->state[k] == AT_HI && q->reduced[k] > low) low = q->reduced[k], give = k;
            }
            if (take < 0 || give < 0 || low - high <= 10 * (q->noise[take] + q->noise[give])) {
                q->level = take < 0 ? (give < 0 ? 0 : -low) : -high;
                return round;
            }
            q->state[take] = q->state[give] = FREE;
            continue;
        }
        reduced_gradient(q);
        double worst = 0;
        for (ptrdiff_t k = 0; k < n; k++) {
            double wrong = q->state[k] == AT_LO ? -q->reduced[k] : q->state[k] == AT_HI ? q->reduced[k] : 0;
            if (q->lo[k] < q->hi[k] && wrong > 10 * q->noise[k] && wrong > worst) worst = wrong, release = k;
        }
        if (release < 0) return round;
        q->state[release] = FREE;
    }
    memcpy(q->step, at, (size_t)n * sizeof *at);
    return 0;
}

int mf_qp(ptrdiff_t n, const double *hessian, const double *gradient, const double *w, const double *lo,
          const double *hi, signed char *state, double *step, double *level) {
    double *memory = malloc((size_t)(n * n + 6 * n) * sizeof(double) + (size_t)n * sizeof(ptrdiff_t));
    if (!memory) return -1;
    mf_step q = {.n = n, .H = hessian, .g = gradient, .w = w, .lo = lo, .hi = hi, .state = state, .step = step};
    q.ridge = RIDGE;
    q.U = memory;
    q.b = memory + n * n;
    q.ones = q.b + n;
    q.reduced = q.ones + n;
    q.diagonal = q.reduced + n;
    q.noise = q.diagonal + n;
    double *at = q.noise + n, largest = 0;
    for (ptrdiff_t k = 0; k < n; k++) largest = fmax(largest, hessian[k * n + k] * w[k] * w[k]);
    const double least = largest > 0 ? TRACE * largest : 1.0;
    for (ptrdiff_t k = 0; k < n; k++) {
        q.diagonal[k] = hessian[k * n + k] > least ? hessian[k * n + k] : least;
    }
    q.index = (ptrdiff_t *)(at + n);
    guess_floors(&q);
    int rounds = primal_dual_active_set(&q, 25);
    if (!rounds) {
        rounds = primal_active_set(&q, at, (int)(10 * n + 50));
        rounds = rounds ? 25 + rounds : -2;
    }
    *level = q.level;
    free(memory);
    return rounds;
}

ptrdiff_t mf_qp_many(ptrdiff_t m, ptrdiff_t n, const double *hessian, const int64_t *which, const double *gradient,
                     const double *w, const double *lo, const double *hi, signed char *state, double *step) {
    double level;
    for (ptrdiff_t j = 0; j < m; j++)
        if (mf_qp(n, hessian + which[j] * n * n, gradient + j * n, w + j * n, lo + j * n, hi + j * n, state + j * n,
                  step + j * n, &level) == -1 ||
            mf_stopped())
            return j;
    return m;
}

/* Nocedal and Wright, procedure 18.2. */
static void damped_bfgs(ptrdiff_t n, double *H, const double *moved, const double *change, double *image,
                        double *seen) {
    double modelled = 0, observed = 0, blend = 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        double sum = 0;
        if (mf_interrupted((double)(3 * n))) return;
        for (ptrdiff_t j = 0; j < n; j++) sum += H[i * n + j] * moved[j];
        image[i] = sum;
        modelled += moved[i] * sum;
        observed += moved[i] * change[i];
    }
    if (!(modelled > 0)) return;
    if (observed < 0.2 * modelled) {
        blend = 0.8 * modelled / (modelled - observed);
        observed = 0.2 * modelled;
    }
    for (ptrdiff_t i = 0; i < n; i++) seen[i] = blend * change[i] + (1 - blend) * image[i];
    for (ptrdiff_t i = 0; i < n; i++) {
        const double up = seen[i] / observed, down = image[i] / modelled;
        for (ptrdiff_t j = 0; j < n; j++) H[i * n + j] += up * seen[j] - down * image[j];
    }
}

int mf_bfgs_many(ptrdiff_t m, ptrdiff_t n, double *hessian, const int64_t *which, const double *moved,
                 const double *change) {
    double *memory = malloc((size_t)(2 * n) * sizeof *memory);
    if (!memory) return -1;
    for (ptrdiff_t j = 0; j < m; j++)
        damped_bfgs(n, hessian + which[j] * n * n, moved + j * n, change + j * n, memory, memory + n);
    free(memory);
    return 0;
}
