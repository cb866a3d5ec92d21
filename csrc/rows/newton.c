#include "newton.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../shared/interrupt.h"
#include "../simplex/projection.h"
#include "../simplex/qp.h"

/* Shares, and the results of a sweep at them. */
typedef struct {
    double *w, *gradient, *hessian; /* (n), (n), (n, n) */
    double value, gap;
    int has_hessian;
} point;

/* One run of the loop; the comments of newton.py say what the fields decide. */
typedef struct {
    const mf_problem *problem;
    const mf_rules *rules;
    mf_found *found;
    ptrdiff_t n;
    double tol, unit;
    int exact, trusted, dear, stale, slow, rescued, known_active;
    int failed; /* what a sweep returned, or that memory ran out */
    signed char *active, *own;
    double *direction, *floor, *vertex, *change; /* (n) each */
    double *sums;                                /* a slot with a Hessian */
    struct timespec began;
} run;

static double dot(const double *a, const double *b, ptrdiff_t n) {
    double sum = 0;
    for (ptrdiff_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

static int ended(const run *r) { return r->failed || mf_stopped(); }

/* The Frank-Wolfe gap; infinite if the gradient is not finite. */
static double gap_at(run *r, const double *gradient, const double *w) {
    const mf_problem *p = r->problem;
    double gap = 0;
    if (!isfinite(dot(gradient, w, r->n))) return INFINITY;
    const int failed = mf_linear_min(gradient, p->low, p->high, r->n, 1.0, r->vertex);
    if (failed == MF_NO_MEMORY) r->failed = -1;
    if (failed) return INFINITY;
    for (ptrdiff_t k = 0; k < r->n; k++) gap += gradient[k] * (w[k] - r->vertex[k]);
    return gap > 0 ? gap : isnan(gap) ? INFINITY : 0;
}

/* The Hessian and coarseness to compute after a step from a point with this relative gap: `_asked` of newton.py. */
static int asked(const run *r, double gap, int known, int *coarse) {
    const ptrdiff_t n = r->n, rows = r->problem->rows->n;
    const int close = gap <= r->rules->far;
    const ptrdiff_t share = close ? 16 : 4, least = close ? 1024 : 64, block = least * n > 16384 ? least * n : 16384;
    const ptrdiff_t by_domains = n / share > 1 ? n / share : 1, by_rows = rows / block > 1 ? rows / block : 1;
    const ptrdiff_t most = by_domains < by_rows ? by_domains : by_rows;
    int step = 1;
    while (2 * step <= most) step *= 2;
    *coarse = gap > r->rules->far;
    return known && (r->dear || gap <= (step == 1 ? r->rules->near : r->rules->soon)) ? 0 : step;
}

/* Sweep at there->w, after a step from a point with that gap. */
static void sweep(run *r, point *there, double gap, int known) {
    const ptrdiff_t n = r->n;
    int coarse = 0, hessian = r->exact ? 1 : asked(r, gap / r->unit, known, &coarse);
    if (r->slow > 1 && hessian) hessian = 1;
    r->failed = mf_total(r->problem->rows, there->w, 1, hessian, coarse, r->sums, r->problem->threads);
    there->has_hessian = hessian > 0;
    if (hessian) memcpy(there->hessian, r->sums + 1 + n, (size_t)(n * n) * sizeof(double));
    if (ended(r)) return;
    there->gap = gap_at(r, r->sums + 1, there->w);
    if (coarse && !(r->rules->rounded * r->unit <= there->gap && there->gap < INFINITY)) {
        /* The gap is too small for coarse sums, or values overflow. */
        r->failed = mf_total(r->problem->rows, there->w, 1, 0, 0, r->sums, r->problem->threads);
        if (ended(r)) return;
        there->gap = gap_at(r, r->sums + 1, there->w);
    }
    there->value = r->sums[0];
    memcpy(there->gradient, r->sums + 1, (size_t)n * sizeof(double));
}

/* Sweep at there->w for its certificate alone. */
static void certify(run *r, point *there) {
    r->failed = mf_total(r->problem->rows, there->w, 1, 0, 0, r->sums, r->problem->threads);
    if (ended(r)) return;
    there->gap = gap_at(r, r->sums + 1, there->w);
    there->value = r->sums[0];
    there->has_hessian = 0;
    memcpy(there->gradient, r->sums + 1, (size_t)r->n * sizeof(double));
}

/* Add a line to the trace. */
static void note(run *r, const point *at) {
    mf_found *found = r->found;
    struct timespec now;
    if (found->lines == found->room) {
        const ptrdiff_t room = found->room ? 2 * found->room : 16;
        mf_line *more = realloc(found->trace, (size_t)room * sizeof *more);
        if (!more) {
            r->failed = -1;
            return;
        }
        found->trace = more;
        found->room = room;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double seconds = (double)(now.tv_sec - r->began.tv_sec) + 1e-9 * (double)(now.tv_nsec - r->began.tv_nsec);
    found->trace[found->lines++] = (mf_line){at->value, at->gap, seconds};
}

int mf_settle(const mf_problem *p, const mf_rules *rules, double tol, double *w, int *done) {
    const ptrdiff_t n = p->rows->ncol;
    double before = INFINITY;
    int quick = 1;
    *done = 0;
    double *memory = malloc((size_t)(3 * n + mf_slot(n, 0)) * sizeof *memory);
    double *pull = memory, *most = pull + n, *least = most + n, *sums = least + n;
    int failed = memory ? 0 : -1;
    for (ptrdiff_t k = 0; !failed && k < n; k++) {
        /* A domain without a share gets none, not even the rounding error of a projection. */
        least[k] = w[k] > 0 ? rules->least : 0;
        most[k] = w[k] > 0 ? p->high[k] : p->low[k];
    }
    for (int step = 0; step < (int)(quick ? rules->most_steps : rules->steps) && !failed; step++) {
        double total = 0, lowest = INFINITY, steepest = -INFINITY;
        failed = mf_total(p->rows, w, 0, 0, 0, sums, p->threads);
        if (failed || mf_stopped()) break;
        for (ptrdiff_t k = 0; k < n; k++) {
            pull[k] = -w[k] * sums[1 + k];
            total += pull[k];
            if (!(pull[k] >= lowest)) lowest = pull[k];
            if (-sums[1 + k] > steepest) steepest = -sums[1 + k];
        }
        if (!(0 < total && total < INFINITY && lowest >= 0)) break;
        *done = steepest - total <= tol;
        if (*done) break;
        quick = tol >= 0 && steepest - total <= rules->quick * before;
        before = steepest - total;
        for (ptrdiff_t k = 0; k < n; k++) pull[k] = pull[k] / total > least[k] ? pull[k] / total : least[k];
        if (mf_kl_project(pull, p->low, most, n, 1.0, pull) != MF_OK) break;
        for (ptrdiff_t k = 0; k < n; k++) w[k] = pull[k] + rules->held * (w[k] - pull[k]);
    }
    free(memory);
    return failed;
}

/* The point after expectation maximisation in `lower`, if it is lower: under caps and floors the value may rise. */
static int settled(run *r, const point *at, point *lower) {
    r->slow = 0;
    memcpy(lower->w, at->w, (size_t)r->n * sizeof(double));
    int done;
    r->failed = mf_settle(r->problem, r->rules, -INFINITY, lower->w, &done);
    if (ended(r)) return 0;
    sweep(r, lower, at->gap, 0);
    if (ended(r) || !(lower->value < at->value)) return 0;
    note(r, lower);
    return 1;
}

static void activity(const double *w, const double *low, const double *high, ptrdiff_t n, signed char *active) {
    for (ptrdiff_t k = 0; k < n; k++) active[k] = w[k] <= low[k] ? -1 : w[k] >= high[k] ? 1 : 0;
}

/* The step that minimises the quadratic model within the limits; with `guarded`, shares keep a part of themselves. */
static void find_direction(run *r, const point *at, int guarded) {
    const mf_problem *p = r->problem;
    const double *low = p->low;
    signed char *active = r->active;
    double level;
    if (guarded) {
        for (ptrdiff_t k = 0; k < r->n; k++)
            r->floor[k] = r->rules->keep * at->w[k] > p->low[k] ? r->rules->keep * at->w[k] : p->low[k];
        low = r->floor;
        active = r->own;
        activity(at->w, low, p->high, r->n, active);
    } else if (!r->known_active) {
        activity(at->w, low, p->high, r->n, active);
        r->known_active = 1;
    }
    memset(r->direction, 0, (size_t)r->n * sizeof(double));
    if (mf_qp(r->n, at->hessian, at->gradient, at->w, low, p->high, active, r->direction, &level) == -1) r->failed = -1;
}

/* Shares next to a bound by rounding of a step from `before` are set to it; see Limits.clip. */
static double clipped(double w, double before, double low, double high, double rounding) {
    const double error = rounding * fmax(w, before);
    if (w - low <= error) w = low;
    if (high - w <= error) w = high;
    return w;
}

enum { NO_DESCENT, TAKEN, OVERSHOT };

/* The point along the direction where the slope has reached zero, or almost, in `there`; whether there is one, or that
 * the whole step leaves some row almost without probability, unless it is guarded against that. */
static int shorten(run *r, const point *at, point *there, int guarded) {
    const mf_rules *rules = r->rules;
    const mf_problem *p = r->problem;
    const double level = dot(at->gradient, at->w, r->n);
    double slope = 0, length = 1;
    for (ptrdiff_t k = 0; k < r->n; k++) slope += (at->gradient[k] - level) * r->direction[k];
    const int last = !(slope < 0);
    if (last) slope = -rules->level * fmax(1.0, fabs(at->value));
    const double rise = at->gap <= rules->far * r->unit ? rules->rise : rules->coarse_rise;
    for (int trial = 0; trial < (int)rules->trials; trial++) {
        double slope_there = 0;
        for (ptrdiff_t k = 0; k < r->n; k++)
            there->w[k] =
                clipped(at->w[k] + length * r->direction[k], at->w[k], p->low[k], p->high[k], rules->rounding);
        sweep(r, there, at->gap, r->trusted || r->dear);
        if (ended(r)) return NO_DESCENT;
        for (ptrdiff_t k = 0; k < r->n; k++) slope_there += (there->gradient[k] - level) * r->direction[k];
        if (!guarded && !(slope_there <= -rules->overshot * slope && there->gap <= r->unit)) return OVERSHOT;
        guarded = 1; /* only the whole step is tested */
        if (!(isfinite(there->value) && isfinite(slope_there))) {
            length *= 0.25;
            continue;
        }
        if (slope_there <= -rules->accepted * slope &&
            (slope_there <= 0 || there->value <= at->value + rise * fabs(at->value)))
            return !last || there->gap < at->gap ? TAKEN : NO_DESCENT;
        length *= fmin(fmax(slope / (slope - slope_there), 0.1), 0.7);
    }
    return NO_DESCENT;
}

/* The point after a step in `there`: whole, or such that every share keeps a part of itself; false if there is none. */
static int step_from(run *r, const point *at, point *there) {
    int guarded = at->gap > r->rules->rough * r->unit, found = OVERSHOT;
    for (; found == OVERSHOT && !ended(r); guarded = 1) {
        find_direction(r, at, guarded);
        if (!ended(r)) found = shorten(r, at, there, guarded);
    }
    return found == TAKEN;
}

/* Give the new point a Hessian: its own, or that of the point before with a secant update. */
static void take(run *r, point *at, point *there) {
    const int updated = !there->has_hessian;
    if (updated) {
        const int64_t first = 0;
        double *hessian = there->hessian;
        there->hessian = at->hessian;
        at->hessian = hessian;
        there->has_hessian = at->has_hessian;
        for (ptrdiff_t k = 0; k < r->n; k++) {
            r->direction[k] = there->w[k] - at->w[k];
            r->change[k] = there->gradient[k] - at->gradient[k];
        }
        if (mf_bfgs_many(1, r->n, there->hessian, &first, r->direction, r->change)) r->failed = -1;
    }
    r->trusted = there->gap < r->rules->shorter * at->gap;
    r->stale = r->dear && !r->trusted && updated;
    r->slow = r->trusted ? 0 : r->slow + 1;
}

static int advances(const mf_rules *rules, const point *at, double value, double gap) {
    if (!isfinite(value)) return 1;
    return at->gap < rules->advances * gap || at->value < value - rules->falls * fmax(1.0, fabs(value));
}

static void swap(point *a, point *b) {
    const point c = *a;
    *a = *b;
    *b = c;
}

/* The same point with everything from all rows; false if that has been tried too often. */
static int rescue(run *r, point *at) {
    if (r->rescued == (int)r->rules->rescues) return 0;
    r->exact = 1;
    r->rescued++;
    sweep(r, at, at->gap, 0);
    return !ended(r);
}

/* The loop of `Newton.minimise`; *at ends as the answer. */
static void loop(run *r, ptrdiff_t most, int settle, point *at, point *there) {
    const mf_rules *rules = r->rules;
    double before = INFINITY;
    int done = 0;
    if (settle) r->failed = mf_settle(r->problem, rules, r->tol, at->w, &done);
    if (ended(r)) return;
    if (done)
        certify(r, at);
    else
        sweep(r, at, INFINITY, 0);
    if (ended(r)) return;
    note(r, at);
    double best_value = at->value, best_gap = at->gap;
    int idle = 0;
    while (at->gap > r->tol && r->found->steps < most && !ended(r)) {
        if (idle == (int)rules->idle) {
            if (!rescue(r, at)) return;
            idle = 0;
        }
        /* 1. */
        if (r->slow && at->gap > fmax(rules->rough * r->unit, fmin(rules->stalled * before, r->unit)) &&
            settled(r, at, there))
            swap(at, there);
        /* 2. */
        if (!ended(r) && (!at->has_hessian || r->stale)) {
            double *hessian = at->hessian;
            r->stale = 0;
            memcpy(there->w, at->w, (size_t)r->n * sizeof(double));
            sweep(r, there, at->gap, 0);
            at->hessian = there->hessian;
            there->hessian = hessian;
            at->has_hessian = there->has_hessian;
        }
        /* 3. and 4. */
        if (ended(r)) return;
        if (!step_from(r, at, there)) {
            if (ended(r) || !rescue(r, at)) return;
            continue;
        }
        /* 5. */
        before = at->gap;
        r->found->steps++;
        take(r, at, there);
        swap(at, there);
        note(r, at);
        if (r->found->steps > (ptrdiff_t)rules->early) {
            const int ahead = advances(rules, at, best_value, best_gap);
            idle = ahead ? 0 : idle + 1;
            if (ahead) best_value = at->value, best_gap = at->gap;
        }
    }
}

int mf_newton(const mf_problem *problem, const mf_rules *rules, double tol, ptrdiff_t most, int settle, double *w,
              double *gradient, double *hessian, mf_found *found) {
    const ptrdiff_t n = problem->rows->ncol, slot = mf_slot(n, 1);
    *found = (mf_found){0};
    double *memory = malloc((size_t)(8 * n + 2 * n * n + slot) * sizeof *memory + (size_t)(2 * n));
    if (!memory) return -1;
    run r = {.problem = problem, .rules = rules, .found = found, .n = n, .tol = tol, .unit = problem->total};
    r.dear = (double)n >= rules->many;
    clock_gettime(CLOCK_MONOTONIC, &r.began);
    double *next = memory;
    point ends[2];
    for (int i = 0; i < 2; i++) {
        ends[i] = (point){.w = next, .gradient = next + n, .hessian = next + 2 * n};
        next += 2 * n + n * n;
    }
    r.direction = next;
    r.floor = next + n;
    r.vertex = next + 2 * n;
    r.change = next + 3 * n;
    r.sums = next + 4 * n;
    r.active = (signed char *)(r.sums + slot);
    r.own = r.active + n;
    memcpy(ends[0].w, w, (size_t)n * sizeof(double));
    loop(&r, most, settle, &ends[0], &ends[1]);
    if (!ended(&r)) {
        memcpy(w, ends[0].w, (size_t)n * sizeof(double));
        memcpy(gradient, ends[0].gradient, (size_t)n * sizeof(double));
        if (ends[0].has_hessian) memcpy(hessian, ends[0].hessian, (size_t)(n * n) * sizeof(double));
        found->value = ends[0].value;
        found->gap = ends[0].gap;
        found->has_hessian = ends[0].has_hessian;
    }
    free(memory);
    return r.failed;
}
