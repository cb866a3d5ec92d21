#include "projection.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "../shared/interrupt.h"

/* Limits that sum to the total "exactly" differ from it by a few roundings of decimal fractions. Callers refuse empty
 * sets with messages of their own; this check is a safeguard and never stricter than theirs. */
static const double FEASIBILITY_SLACK = 1e-9;

/* Newton's method needs 3 to 10 passes; past this many the safeguard makes every other pass a bisection. */
static const int FREE_NEWTON_PASSES = 16;

enum { LANES = 4, STACK_SIZE = 64 };

static inline double clamp(double value, double lo, double hi) {
    const double raised = value > lo ? value : lo;
    return raised < hi ? raised : hi;
}

static double sum_of(const double *values, ptrdiff_t n) {
    double lane[LANES] = {0.0, 0.0, 0.0, 0.0};
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += values[j + l];
    for (; j < n; j++) lane[j % LANES] += values[j];
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

static int is_feasible(double sum_lo, double sum_hi, double total) {
    const double slack = FEASIBILITY_SLACK * fmax(1.0, fabs(total));
    /* Written so that NaN fails. */
    return sum_lo <= total + slack && sum_hi >= total - slack;
}

/* One point of the piecewise linear, non-increasing function sum_j clamp(x_j - top - shift, lo_j, hi_j). */
typedef struct {
    double sum;
    double at_lo; /* how many coordinates sit on each side: counts, kept as doubles so that the loop vectorises */
    double at_hi;
} piece;

static piece evaluate(const double *x, const double *lo, const double *hi, ptrdiff_t n, double top, double shift) {
    double sum[LANES] = {0.0, 0.0, 0.0, 0.0};
    double at_lo[LANES] = {0.0, 0.0, 0.0, 0.0};
    double at_hi[LANES] = {0.0, 0.0, 0.0, 0.0};
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int l = 0; l < LANES; l++) {
            const double value = (x[j + l] - top) - shift;
            sum[l] += clamp(value, lo[j + l], hi[j + l]);
            at_lo[l] += value <= lo[j + l] ? 1.0 : 0.0;
            at_hi[l] += value >= hi[j + l] ? 1.0 : 0.0;
        }
    for (; j < n; j++) {
        const int l = (int)(j % LANES);
        const double value = (x[j] - top) - shift;
        sum[l] += clamp(value, lo[j], hi[j]);
        at_lo[l] += value <= lo[j] ? 1.0 : 0.0;
        at_hi[l] += value >= hi[j] ? 1.0 : 0.0;
    }
    const piece found = {(sum[0] + sum[1]) + (sum[2] + sum[3]), (at_lo[0] + at_lo[1]) + (at_lo[2] + at_lo[3]),
                         (at_hi[0] + at_hi[1]) + (at_hi[2] + at_hi[3])};
    return found;
}

/* Distribute the rounding error left in the sum: evenly over the coordinates inside their bounds, which is a last
 * Newton step free of cancellation. What those cannot take (x so large that no double shift meets the total) goes to
 * any coordinate with room. */
static void distribute_rounding(const double *lo, const double *hi, ptrdiff_t n, double total, double *out) {
    double missing = total - sum_of(out, n);
    ptrdiff_t inside = 0;
    for (ptrdiff_t j = 0; j < n; j++) inside += lo[j] < out[j] && out[j] < hi[j];
    if (inside > 0) {
        const double each = missing / (double)inside;
        for (ptrdiff_t j = 0; j < n; j++)
            if (lo[j] < out[j] && out[j] < hi[j]) out[j] = clamp(out[j] + each, lo[j], hi[j]);
        missing = total - sum_of(out, n);
    }
    const double noise = (double)(n + 1) * DBL_EPSILON * fmax(1.0, fabs(total));
    for (ptrdiff_t j = 0; j < n && fabs(missing) > noise; j++) {
        const double moved = clamp(out[j] + missing, lo[j], hi[j]);
        missing -= moved - out[j];
        out[j] = moved;
    }
}

/* The projection is clamp(x - shift) for the one shift that meets the total: Newton's method on that scalar equation,
 * with a bracket (Cominetti, Mascarenhas and Silva 2014, "A Newton's method for the continuous quadratic knapsack
 * problem"). Exactness: more coordinates are at lo, and fewer at hi, the larger the shift; so equal counts at both ends
 * of a step mean equal sets, the function is linear between them, and the step landed on the root. */
int mf_project(const double *x, const double *lo, const double *hi, ptrdiff_t n, double total, double *out) {
    const double sum_lo = sum_of(lo, n);
    if (n <= 0 || !is_feasible(sum_lo, sum_of(hi, n), total)) return MF_INFEASIBLE;
    const double room = fmax(total - sum_lo, 0.0);

    /* Measuring from the largest x keeps the digits of the coordinates that matter when all of x is large. */
    double top = x[0];
    for (ptrdiff_t j = 1; j < n; j++) top = x[j] > top ? x[j] : top;
    double lower = INFINITY, upper = -INFINITY, mean = 0.0;
    for (ptrdiff_t j = 0; j < n; j++) {
        const double value = x[j] - top;
        if (!isfinite(value)) return MF_INFEASIBLE;
        /* No coordinate can take more than all the room: this makes the bracket finite if a cap is not. */
        lower = fmin(lower, value - fmin(hi[j], lo[j] + room));
        upper = fmax(upper, value - lo[j]);
        mean += value / (double)n;
    }

    double shift = mean - total / (double)n; /* the root, were no bound active */
    double last_lo = -1.0, last_hi = -1.0;   /* counts where the Newton step began; -1 after a bisection */
    for (int pass = 0; !mf_interrupted((double)(4 * n)); pass++) {
        if (!(lower < shift && shift < upper)) {
            shift = 0.5 * lower + 0.5 * upper;
            last_lo = last_hi = -1.0;
            if (!(lower < shift && shift < upper)) break; /* no double left between the ends */
        }
        const piece here = evaluate(x, lo, hi, n, top, shift);
        const double excess = here.sum - total;
        const double inside = (double)n - here.at_lo - here.at_hi;
        if (excess == 0.0 || (here.at_lo == last_lo && here.at_hi == last_hi)) break;
        if (excess > 0.0)
            lower = shift;
        else
            upper = shift;
        const int bisect = inside == 0.0 || (pass >= FREE_NEWTON_PASSES && pass % 2 == 0);
        const double next = bisect ? 0.5 * lower + 0.5 * upper : shift + excess / inside;
        if (next == shift) break;
        last_lo = bisect ? -1.0 : here.at_lo;
        last_hi = bisect ? -1.0 : here.at_hi;
        shift = next;
    }
    for (ptrdiff_t j = 0; j < n; j++) out[j] = clamp((x[j] - top) - shift, lo[j], hi[j]);
    distribute_rounding(lo, hi, n, total, out);
    return MF_OK;
}

/* The values at one factor of the non-decreasing, piecewise linear function sum_j clamp(factor x_j, lo_j, hi_j). */
static piece evaluate_scaled(const double *x, const double *lo, const double *hi, ptrdiff_t n, double factor,
                             double *slope) {
    piece found = {0.0, 0.0, 0.0};
    *slope = 0.0;
    for (ptrdiff_t j = 0; j < n; j++) {
        const double value = factor * x[j];
        found.sum += clamp(value, lo[j], hi[j]);
        found.at_lo += value <= lo[j] ? 1.0 : 0.0;
        found.at_hi += value >= hi[j] ? 1.0 : 0.0;
        *slope += value > lo[j] && value < hi[j] ? x[j] : 0.0;
    }
    return found;
}

/* Add what rounding left of the total to the coordinate with most room, which changes least by it. */
static void give_rounding(const double *lo, const double *hi, ptrdiff_t n, double total, double *out) {
    const double missing = total - sum_of(out, n);
    double most = -INFINITY;
    ptrdiff_t to = 0;
    for (ptrdiff_t j = 0; j < n; j++) {
        const double room = fmin(out[j] - lo[j], hi[j] - out[j]);
        if (room > most) most = room, to = j;
    }
    out[to] = clamp(out[to] + missing, lo[to], hi[to]);
}

/* The projection is clamp(factor x) for the one factor that meets the total: Newton's method as in mf_project. */
int mf_kl_project(const double *x, const double *lo, const double *hi, ptrdiff_t n, double total, double *out) {
    const double sum_lo = sum_of(lo, n);
    double sum_x = 0.0, most = 0.0, upper = 0.0;
    for (ptrdiff_t j = 0; j < n; j++) {
        if (!(x[j] >= 0.0 && x[j] < INFINITY)) return MF_INFEASIBLE;
        sum_x += x[j];
        most += x[j] > 0.0 ? hi[j] : lo[j];
        if (x[j] > 0.0) upper = fmax(upper, fmin(fmin(hi[j], total) / x[j], DBL_MAX));
    }
    if (n <= 0 || !is_feasible(sum_lo, most, total) || !(sum_x < INFINITY)) return MF_INFEASIBLE;
    /* The sum is at most sum lo + factor sum x. */
    double lower = sum_x > 0.0 ? fmax(total - sum_lo, 0.0) / sum_x : 0.0, factor = lower;
    const double noise = (double)(n + 1) * DBL_EPSILON * fmax(1.0, fabs(total));
    double last_lo = -1.0, last_hi = -1.0; /* counts where the Newton step began; -1 after a bisection */
    for (int pass = 0; lower < upper && !mf_interrupted((double)(4 * n)); pass++) {
        double slope;
        const piece here = evaluate_scaled(x, lo, hi, n, factor, &slope);
        const double excess = here.sum - total;
        if (fabs(excess) <= noise || (here.at_lo == last_lo && here.at_hi == last_hi)) break;
        if (excess > 0.0)
            upper = factor;
        else
            lower = factor;
        double next = factor - excess / slope;
        const int newton = slope > 0.0 && lower < next && next < upper && (pass < FREE_NEWTON_PASSES || pass % 2);
        /* Factors may span many orders of magnitude. */
        if (!newton) next = lower > 0.0 ? sqrt(lower) * sqrt(upper) : 0.5 * upper;
        if (!(lower < next && next < upper)) break; /* no double left between the ends */
        last_lo = newton ? here.at_lo : -1.0;
        last_hi = newton ? here.at_hi : -1.0;
        factor = next;
    }
    for (ptrdiff_t j = 0; j < n; j++) out[j] = clamp(factor * x[j], lo[j], hi[j]);
    give_rounding(lo, hi, n, total, out);
    return MF_OK;
}

static inline int comes_before(const double *g, ptrdiff_t a, ptrdiff_t b) {
    return g[a] < g[b] || (g[a] == g[b] && a < b);
}

static void sift_down(ptrdiff_t *heap, ptrdiff_t size, ptrdiff_t root, const double *g) {
    for (ptrdiff_t child = 2 * root + 1; child < size; child = 2 * root + 1) {
        if (child + 1 < size && comes_before(g, heap[child + 1], heap[child])) child++;
        if (!comes_before(g, heap[child], heap[root])) return;
        const ptrdiff_t moved = heap[root];
        heap[root] = heap[child];
        heap[child] = moved;
        root = child;
    }
}

/* Fill the cheapest coordinates first. A heap, because a vertex usually takes few of many: O(n + filled log n). */
int mf_linear_min(const double *g, const double *lo, const double *hi, ptrdiff_t n, double total, double *out) {
    const double sum_lo = sum_of(lo, n);
    if (n <= 0 || !is_feasible(sum_lo, sum_of(hi, n), total)) return MF_INFEASIBLE;
    ptrdiff_t on_stack[STACK_SIZE];
    ptrdiff_t *heap = n <= STACK_SIZE ? on_stack : malloc((size_t)n * sizeof *heap);
    if (heap == NULL) return MF_NO_MEMORY;
    for (ptrdiff_t j = 0; j < n; j++) {
        heap[j] = j;
        out[j] = lo[j];
    }
    for (ptrdiff_t root = n / 2 - 1; root >= 0; root--) sift_down(heap, n, root, g);
    double left = total - sum_lo;
    for (ptrdiff_t size = n; size > 0 && left > 0.0;) {
        const ptrdiff_t j = heap[0];
        const double room = hi[j] - lo[j];
        if (size % 256 == 0 && mf_interrupted(256.0 * 64.0)) break;
        out[j] = room <= left ? hi[j] : clamp(lo[j] + left, lo[j], hi[j]);
        left -= room;
        heap[0] = heap[--size];
        sift_down(heap, size, 0, g);
    }
    if (heap != on_stack) free(heap);
    return MF_OK;
}
