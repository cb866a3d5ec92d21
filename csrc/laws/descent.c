#include "descent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/exp.h"
#include "../shared/interrupt.h"
#include "../shared/simd.h"

/* Trial points with exponents above this are refused, which keeps infinities out of the sums. */
#define HIGHEST 50.0

/* Rows of z are padded with zeros to a multiple of this, so that sums over them run in whole vectors. */
#define LANES 8
/* Vectors of four doubles, explicit because GCC and clang compile plain loops of this length differently. */
enum { FOUR = 4 };
typedef double vector __attribute__((vector_size(32), aligned(8), may_alias));

typedef struct {
    ptrdiff_t runs, width, padded;
    double *z;                     /* (runs, padded) */
    double *across;                /* (width, runs), z transposed */
    double *left;                  /* (runs, width + 2): what is multiplied with z and summed over the runs */
    double *sums;                  /* (width + 2, padded) */
    double *m, *r, *m_new, *r_new; /* (runs) */
    double *h, *g, *step, *b_new;  /* Newton's matrix (width + 1, width + 1), gradient, step, trial point */
    const double *y, *quad;
    double delta, floor;
} work;

/* The loss at (c, b); leaves exp(z.b) in m and the residuals in r. Infinite outside the domain. */
MF_CLONES(static, double, value, (const work *w, double c, const double *b, double *restrict m, double *restrict r),
          (w, c, b, m, r)) {
    ptrdiff_t runs = w->runs, width = w->width;
    if (!(c >= w->floor)) return INFINITY;
    memset(m, 0, (size_t)runs * sizeof *m);
    for (ptrdiff_t k = 0; k < width; k++) {
        const double *restrict column = w->across + k * runs;
        double by = b[k];
        if (mf_interrupted((double)runs)) return INFINITY;
        for (ptrdiff_t i = 0; i < runs; i++) m[i] += by * column[i];
    }
    for (ptrdiff_t i = 0; i < runs; i++)
        if (!(m[i] < HIGHEST)) return INFINITY;
    double total = 0.0, delta = w->delta;
    mf_exp(runs, m, r);
    for (ptrdiff_t i = 0; i < runs; i++) {
        r[i] = w->y[i] - c - m[i];
        double size = fabs(r[i]);
        total += size <= delta ? 0.5 * size * size : delta * (size - 0.5 * delta);
    }
    for (ptrdiff_t k = 0; k < width; k++)
        for (ptrdiff_t l = 0; l < width; l++) total += 0.5 * b[k] * w->quad[k * width + l] * b[l];
    return total;
}

/* Entries of a row of sums that are used: all of the first two, and of Newton's matrix the lower triangle. */
static inline ptrdiff_t used(ptrdiff_t row, ptrdiff_t padded) {
    return row < 2 ? padded : (row - 2 + LANES) / LANES * LANES;
}

/* sums = left' z. Four runs at a time, so that each row of sums is loaded and stored once for all four. */
MF_CLONES(static, void, multiply, (const work *w), (w)) {
    ptrdiff_t runs = w->runs, rows = w->width + 2, padded = w->padded;
    double *restrict sums = w->sums;
    memset(sums, 0, (size_t)(rows * padded) * sizeof *sums);
    ptrdiff_t i = 0;
    for (; i + 4 <= runs; i += 4) {
        const double *restrict z0 = w->z + i * padded, *restrict z1 = z0 + padded;
        const double *restrict z2 = z1 + padded, *restrict z3 = z2 + padded;
        const double *left = w->left + i * rows;
        if (mf_interrupted((double)(rows * padded))) return;
        for (ptrdiff_t k = 0; k < rows; k++) {
            double a0 = left[k], a1 = left[rows + k], a2 = left[2 * rows + k], a3 = left[3 * rows + k];
            double *restrict out = sums + k * padded;
            ptrdiff_t end = used(k, padded);
            for (ptrdiff_t l = 0; l < end; l += FOUR)
                *(vector *)(out + l) += (a0 * *(const vector *)(z0 + l) + a1 * *(const vector *)(z1 + l)) +
                                        (a2 * *(const vector *)(z2 + l) + a3 * *(const vector *)(z3 + l));
        }
    }
    for (; i < runs; i++)
        for (ptrdiff_t k = 0; k < rows; k++)
            for (ptrdiff_t l = 0; l < used(k, padded); l++)
                sums[k * padded + l] += w->left[i * rows + k] * w->z[i * padded + l];
}

/* Solve h step = -g by Cholesky in place of h (n, n); 0 when h is not safely positive definite. */
static int solve(ptrdiff_t n, double *h, const double *g, double *step) {
    for (ptrdiff_t j = 0; j < n; j++) {
        double s = h[j * n + j], whole = s;
        if (mf_interrupted((double)((n - j) * j))) return 0;
        for (ptrdiff_t k = 0; k < j; k++) s -= h[j * n + k] * h[j * n + k];
        if (!(s > 1e-13 * fabs(whole))) return 0;
        double pivot = sqrt(s);
        h[j * n + j] = pivot;
        for (ptrdiff_t i = j + 1; i < n; i++) {
            double t = h[i * n + j];
            for (ptrdiff_t k = 0; k < j; k++) t -= h[i * n + k] * h[j * n + k];
            h[i * n + j] = t / pivot;
        }
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        double t = -g[j];
        for (ptrdiff_t k = 0; k < j; k++) t -= h[j * n + k] * step[k];
        step[j] = t / h[j * n + j];
    }
    for (ptrdiff_t j = n - 1; j >= 0; j--) {
        double t = step[j];
        for (ptrdiff_t k = j + 1; k < n; k++) t -= h[k * n + j] * step[k];
        step[j] = t / h[j * n + j];
    }
    return 1;
}

/* Gradient and damped Newton matrix (its lower triangle) at (c, b).
 *
 * Newton's matrix of this loss can be indefinite, and between its kinks it uses only the runs within delta. The matrix
 * of iteratively reweighted least squares (Huber's weights: delta / |r| beyond delta) majorises the loss, so newton +
 * damp * weights moves from the first to the second as damp grows from 0. A step that fails is damped more. */
static void bend(const work *w, double c, const double *b, double damp) {
    ptrdiff_t runs = w->runs, width = w->width, rows = width + 2, padded = w->padded, n = width + 1;
    double top = 0.0, sum_psi = 0.0, delta = w->delta;
    for (ptrdiff_t i = 0; i < runs; i++) {
        double r = w->r[i], m = w->m[i], size = fabs(r), psi = r, inside = 1.0, weight = 1.0;
        if (!(size <= delta)) {
            psi = r > 0.0 ? delta : -delta;
            inside = 0.0;
            weight = delta / size;
        }
        double s = inside + damp * weight;
        sum_psi += psi;
        top += s;
        double *left = w->left + i * rows;
        const double *z = w->z + i * padded;
        left[0] = s * m;
        left[1] = psi * m;
        double bent = s * m * m - psi * m;
        for (ptrdiff_t k = 0; k < width; k++) left[2 + k] = bent * z[k];
    }
    multiply(w);
    const double *cross = w->sums, *push = w->sums + padded, *gram = w->sums + 2 * padded;
    double *h = w->h, *g = w->g;
    g[0] = -sum_psi;
    h[0] = top;
    for (ptrdiff_t k = 0; k < width; k++) {
        double pull = 0.0;
        for (ptrdiff_t l = 0; l < width; l++) pull += w->quad[k * width + l] * b[l];
        g[1 + k] = pull - push[k];
        h[(1 + k) * n] = cross[k];
        for (ptrdiff_t l = 0; l <= k; l++) h[(1 + k) * n + 1 + l] = gram[k * padded + l] + w->quad[k * width + l];
        h[(1 + k) * n + 1 + k] *= 1.0 + 1e-12;
    }
    if (c <= w->floor && g[0] > 0.0) { /* held at its limit */
        for (ptrdiff_t k = 0; k < width; k++) h[(1 + k) * n] = 0.0;
        g[0] = 0.0;
    }
}

static void swap(double **a, double **b) {
    double *kept = *a;
    *a = *b;
    *b = kept;
}

static int descend(work *w, double *at, double *b, int steps, double tol, double *lowest) {
    ptrdiff_t width = w->width, n = width + 1;
    double c = *at, loss = value(w, c, b, w->m, w->r), damp = 1.0;
    int quiet = 0, done = 0;
    while (done < steps && loss < INFINITY && !mf_stopped()) {
        done++;
        bend(w, c, b, damp);
        if (!solve(n, w->h, w->g, w->step)) {
            damp = fmax(4.0 * damp, 1e-3);
            if (damp > 1e12) break;
            continue;
        }
        double promised = 0.0;
        for (ptrdiff_t k = 0; k < n; k++) promised -= w->g[k] * w->step[k];
        double c_new = fmax(c + w->step[0], w->floor);
        for (ptrdiff_t k = 0; k < width; k++) w->b_new[k] = b[k] + w->step[1 + k];
        double loss_new = value(w, c_new, w->b_new, w->m_new, w->r_new), won = loss - loss_new;
        if (won > 0.0) {
            int small = won <= tol * loss;
            double ratio = won / promised;
            loss = loss_new;
            c = c_new;
            memcpy(b, w->b_new, (size_t)width * sizeof *b);
            swap(&w->m, &w->m_new);
            swap(&w->r, &w->r_new);
            if (ratio > 0.4)
                damp = damp > 1e-6 ? damp * 0.2 : 0.0;
            else if (ratio < 0.1)
                damp = fmax(2.0 * damp, 1e-3);
            quiet = small ? quiet + 1 : 0;
            /* A nearly undamped Newton step reaches the minimum; a damped step may just have been short. */
            if (quiet >= 2 || (small && damp <= 1e-3)) break;
        } else {
            if (promised <= tol * loss) break;
            damp = fmax(4.0 * damp, 1e-3);
            if (damp > 1e12) break;
        }
    }
    *at = c;
    *lowest = loss;
    return done;
}

int mf_descend(ptrdiff_t runs, ptrdiff_t width, const double *z, const double *y, double delta, const double *quad,
               double floor, double *c, double *b, int steps, double tol, double *loss) {
    ptrdiff_t padded = (width + LANES - 1) / LANES * LANES, rows = width + 2, n = width + 1;
    ptrdiff_t size = runs * (padded + width + rows + 4) + rows * padded + n * n + 2 * n + width;
    double *memory = calloc((size_t)size, sizeof *memory), *next = memory;
    if (!memory) return -1;
    work w = {.runs = runs, .width = width, .padded = padded, .y = y, .quad = quad, .delta = delta, .floor = floor};
    w.z = next, next += runs * padded;
    w.sums = next, next += rows * padded;
    w.across = next, next += width * runs;
    w.left = next, next += runs * rows;
    w.m = next, next += runs;
    w.r = next, next += runs;
    w.m_new = next, next += runs;
    w.r_new = next, next += runs;
    w.h = next, next += n * n;
    w.g = next, next += n;
    w.step = next, next += n;
    w.b_new = next;
    for (ptrdiff_t i = 0; i < runs; i++)
        for (ptrdiff_t k = 0; k < width; k++) w.z[i * padded + k] = w.across[k * runs + i] = z[i * width + k];
    int done = descend(&w, c, b, steps, tol, loss);
    free(memory);
    return done;
}
