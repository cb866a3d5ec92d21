#include "dual.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/exp.h"
#include "../shared/interrupt.h"
#include "../shared/simd.h"
#include "factor.h"

#define TINY 1e-300
/* Exponents above this are refused: exp() of a larger one is not far from infinity. */
#define HIGHEST 700.0

/* A point of the dual, given by exponents z, and everything computed from it. Vectors of metrics are padded with zeros
 * to whole tiles. */
typedef struct {
    double *z, *y, *rest;   /* exponents, exp(z), and the exponents at the shares minus z; (metrics) */
    double *w, *free, *log; /* the optimal shares, which of them are between their limits, and t + level; (domains) */
    double level, value;
} point;

typedef struct {
    const mf_proposal *proposal;
    ptrdiff_t padded, stride;
    double *across;         /* (domains, padded): a, transposed */
    double *block, *matrix; /* (domains, padded), (padded, stride) */
    double *mean, *step;    /* (padded) */
    double *t, *shares;     /* (domains), (3 domains) */
} work;

/* slopes = across y */
MF_CLONES(static, void, slopes_at,
          (ptrdiff_t n, ptrdiff_t padded, const double *restrict across, const double *restrict y,
           double *restrict slopes),
          (n, padded, across, y, slopes)) {
    for (ptrdiff_t k = 0; k < n; k++) {
        double lanes[MF_WIDE] = {0}, sum = 0.0;
        for (ptrdiff_t j = 0; j < padded; j += MF_WIDE)
            for (int l = 0; l < MF_WIDE; l++) lanes[l] += across[k * padded + j + l] * y[j + l];
        for (int l = 0; l < MF_WIDE; l++) sum += lanes[l];
        slopes[k] = sum;
    }
}

/* out += across' w */
MF_CLONES(static, void, add_rows,
          (ptrdiff_t n, ptrdiff_t padded, const double *restrict across, const double *restrict w,
           double *restrict out),
          (n, padded, across, w, out)) {
    for (ptrdiff_t k = 0; k < n; k++)
        for (ptrdiff_t j = 0; j < padded; j++) out[j] += w[k] * across[k * padded + j];
}

MF_CLONES(static, void, exponentials, (ptrdiff_t n, double *restrict x, double *restrict scale), (n, x, scale)) {
    mf_exp(n, x, scale);
}

/* Compute the point of its exponents, searching its level from the one it has. Returns 0 if there is none. */
static int evaluate(const work *w, point *at) {
    const mf_proposal *p = w->proposal;
    ptrdiff_t metrics = p->metrics, domains = p->domains, padded = w->padded;
    if (mf_interrupted(2.0 * (double)(padded * domains))) return 0;
    for (ptrdiff_t j = 0; j < metrics; j++)
        if (!(at->z[j] < HIGHEST)) return 0;
    memcpy(at->y, at->z, (size_t)metrics * sizeof *at->y);
    exponentials(metrics, at->y, at->rest);
    slopes_at(domains, padded, w->across, at->y, w->t);
    for (ptrdiff_t k = 0; k < domains; k++) {
        w->t[k] = p->log_prior[k] - (w->t[k] + p->linear[k]) / p->kl;
        if (!isfinite(w->t[k])) return 0;
    }
    if (isinf(at->level)) at->level = mf_first_level(domains, w->t, p->high, w->shares);
    if (!mf_shares_at_level(domains, w->t, p->low, p->high, &at->level, at->w, at->free, w->shares)) return 0;
    memset(at->rest, 0, (size_t)padded * sizeof *at->rest);
    add_rows(domains, padded, w->across, at->w, at->rest);
    double cost = 0.0, value = 0.0;
    for (ptrdiff_t k = 0; k < domains; k++) {
        cost += at->w[k] * (p->kl * (log(fmax(at->w[k], TINY)) - p->log_prior[k]) + p->linear[k]);
        at->log[k] = w->t[k] + at->level;
    }
    for (ptrdiff_t j = 0; j < metrics; j++) {
        at->rest[j] += p->log_weight[j] - at->z[j];
        value += at->y[j] * (1.0 + at->rest[j]);
    }
    at->value = value + cost;
    return 1;
}

/* Solve U'U x = x in place, U an upper triangle. */
static void solve(ptrdiff_t size, ptrdiff_t stride, const double *u, double *x) {
    for (ptrdiff_t i = 0; i < size; i++) {
        const double *row = u + i * stride;
        x[i] /= row[i];
        for (ptrdiff_t j = i + 1; j < size; j++) x[j] -= row[j] * x[i];
    }
    for (ptrdiff_t i = size - 1; i >= 0; i--) {
        const double *row = u + i * stride;
        for (ptrdiff_t j = i + 1; j < size; j++) x[i] -= row[j] * x[j];
        x[i] /= row[i];
    }
}

/* Fill w->step with Newton's step in the exponents; return the slope of the dual along it, 0 if there is no step. */
static double newton(const work *w, const point *at) {
    const mf_proposal *p = w->proposal;
    ptrdiff_t metrics = p->metrics, padded = w->padded, loose = 0;
    /* Free shares respond to a change of the slopes by -C / kl, C = diag(w) - w w' / sum(w). */
    double total = 0.0, scale = 1.0 / sqrt(p->kl), *root = w->step;
    for (ptrdiff_t j = 0; j < padded; j++) root[j] = j < metrics ? sqrt(at->y[j]) : 0.0;
    memset(w->mean, 0, (size_t)padded * sizeof *w->mean);
    for (ptrdiff_t k = 0; k < p->domains; k++) {
        double share = at->w[k] * at->free[k], half = sqrt(share) * scale, *row = w->block + loose * padded;
        if (!(share > 0.0)) continue;
        for (ptrdiff_t j = 0; j < padded; j++) {
            row[j] = half * (w->across[k * padded + j] * root[j]);
            w->mean[j] += half * row[j];
        }
        total += share, loose++;
    }
    mf_product squares = {w->block, w->block, w->matrix, padded, padded, w->stride, 1};
    mf_product means = {w->mean, w->mean, w->matrix, padded, padded, w->stride, 1};
    memset(w->matrix, 0, (size_t)(padded * w->stride) * sizeof *w->matrix);
    for (ptrdiff_t j = 0; j < padded; j++) w->matrix[j * w->stride + j] = 1.0;
    mf_accumulate(&squares, 0, loose, 0, padded, 0, padded, 1.0);
    /* `mean` has the factor 1 / kl in place of 1 / sqrt(kl). */
    if (total > 0.0) mf_accumulate(&means, 0, 1, 0, padded, 0, padded, -p->kl / total);
    if (mf_stopped() || !mf_factor(padded, w->matrix)) return 0.0;
    double *u = w->mean, slope = 0.0;
    for (ptrdiff_t j = 0; j < padded; j++) u[j] = j < metrics ? root[j] * at->rest[j] : 0.0;
    solve(padded, w->stride, w->matrix, u);
    for (ptrdiff_t j = 0; j < metrics; j++) {
        slope += at->rest[j] * root[j] * u[j];
        w->step[j] = u[j] / root[j];
    }
    return slope;
}

/* Move to the first of the halved Newton steps for which the dual rises enough. Returns 0 if there is none. */
static int climb(const work *w, const mf_ascent *rules, point *at, point *trial) {
    double slope = newton(w, at), rounding = rules->rounding * fmax(1.0, fabs(at->value)), length = 1.0;
    if (!(slope > 0.0)) return 0;
    for (int halving = 0; halving < rules->halvings; halving++, length *= 0.5) {
        for (ptrdiff_t j = 0; j < w->proposal->metrics; j++) trial->z[j] = at->z[j] + length * w->step[j];
        trial->level = at->level;
        if (evaluate(w, trial) && trial->value >= at->value + rules->armijo * length * slope - rounding) {
            point left = *at;
            *at = *trial, *trial = left;
            return 1;
        }
        if (mf_stopped()) return 0;
    }
    return 0;
}

static int is_close(const point *at, ptrdiff_t metrics, double close) {
    for (ptrdiff_t j = 0; j < metrics; j++)
        if (!(fabs(at->rest[j]) <= close)) return 0;
    return 1;
}

static double *taken(double **memory, ptrdiff_t count) {
    double *found = *memory;
    *memory += count;
    return found;
}

static point point_in(double **memory, ptrdiff_t padded, ptrdiff_t domains) {
    point at = {0};
    at.z = taken(memory, padded), at.y = taken(memory, padded), at.rest = taken(memory, padded);
    at.w = taken(memory, domains), at.free = taken(memory, domains), at.log = taken(memory, domains);
    return at;
}

int mf_ascend(const mf_proposal *proposal, const mf_ascent *rules, double *z, double *level, double *w, double *logs) {
    ptrdiff_t metrics = proposal->metrics, domains = proposal->domains;
    ptrdiff_t padded = mf_whole(metrics), stride = mf_stride(padded);
    size_t need = (size_t)(2 * domains * padded + padded * stride + 8 * padded + 10 * domains);
    double *memory = calloc(need, sizeof *memory), *next = memory;
    if (memory == NULL) return -1;
    work own = {.proposal = proposal, .padded = padded, .stride = stride};
    own.across = taken(&next, domains * padded), own.block = taken(&next, domains * padded);
    own.matrix = taken(&next, padded * stride), own.mean = taken(&next, padded), own.step = taken(&next, padded);
    own.t = taken(&next, domains), own.shares = taken(&next, 3 * domains);
    point at = point_in(&next, padded, domains), trial = point_in(&next, padded, domains);
    for (ptrdiff_t j = 0; j < metrics; j++)
        for (ptrdiff_t k = 0; k < domains; k++) own.across[k * padded + j] = proposal->a[j * domains + k];
    memcpy(at.z, z, (size_t)metrics * sizeof *z);
    at.level = *level;
    int steps = 0, going = evaluate(&own, &at) && isfinite(at.value);
    while (going && !(steps >= rules->least && is_close(&at, metrics, rules->close)) && steps < rules->most) {
        going = climb(&own, rules, &at, &trial) && isfinite(at.value);
        steps++;
    }
    if (going) {
        memcpy(z, at.z, (size_t)metrics * sizeof *z);
        memcpy(w, at.w, (size_t)domains * sizeof *w);
        memcpy(logs, at.log, (size_t)domains * sizeof *logs);
        *level = at.level;
    }
    free(memory);
    return going ? steps : -2;
}
