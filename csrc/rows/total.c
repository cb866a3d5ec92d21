#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/interrupt.h"
#include "rows.h"

int mf_useful_threads(const mf_rows *rows, int hessian, int threads) {
    ptrdiff_t work = rows->ncol;
    if (hessian) work += rows->ncol * rows->ncol / 16 / hessian;
    const ptrdiff_t useful = rows->n * work / (1 << 20) + 1;
    return threads < useful ? threads : (int)useful;
}

void mf_add_chunks(double *total, const double *partial, ptrdiff_t chunks, ptrdiff_t slot) {
    const ptrdiff_t piece = 1 << 16;
    for (ptrdiff_t j = 0; j < chunks; j++) {
        for (ptrdiff_t first = 0; first < slot; first += piece) {
            const ptrdiff_t last = first + piece < slot ? first + piece : slot;
            if (mf_interrupted((double)piece)) return;
            for (ptrdiff_t i = first; i < last; i++) total[i] += partial[j * slot + i];
        }
    }
}

/* Scale an estimated Hessian to the diagonal of all rows, and complete the upper triangle. */
static void finish(double *H, double *diagonal, ptrdiff_t n, int estimated) {
    for (ptrdiff_t i = 0; estimated && i < n; i++) {
        diagonal[i] = H[i * n + i] > 0 ? sqrt(diagonal[i] / H[i * n + i]) : 0;
        for (ptrdiff_t j = 0; j <= i; j++) H[i * n + j] *= diagonal[i] * diagonal[j];
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        if (mf_interrupted((double)(8 * i))) return; /* a column is far apart in memory */
        for (ptrdiff_t j = 0; j < i; j++) H[j * n + i] = H[i * n + j];
    }
}

/* Bring a Hessian over `curved` of n columns, m^2 doubles, to its place among all n^2, which are 0 behind it. No
 * element moves towards the front, so from the end none is overwritten before it has moved. */
static void spread(double *H, ptrdiff_t n, const int32_t *curved, ptrdiff_t m) {
    for (ptrdiff_t i = m - 1; i >= 0; i--) {
        for (ptrdiff_t j = m - 1; j >= 0; j--) {
            const double x = H[i * m + j];
            H[i * m + j] = 0;
            H[curved[i] * n + curved[j]] = x;
        }
    }
}

int mf_total(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, double *total,
             int threads) {
    return mf_total_also(rows, mixture, value, hessian, coarse, (mf_also){0}, total, threads);
}

int mf_total_also(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, mf_also also,
                  double *total, int threads) {
    const ptrdiff_t n = rows->ncol, slot = mf_slot(n, hessian);
    ptrdiff_t chunk_rows;
    const ptrdiff_t chunks = mf_plan_chunks(rows->n, n, hessian, &chunk_rows);
    double *partial = chunks == 1 ? total : malloc((size_t)(chunks * slot) * sizeof *partial);
    if (!partial) return -1;
    const int failed = mf_sums(rows, mixture, value, hessian, coarse, also, 0, chunks, partial,
                               mf_useful_threads(rows, hessian, threads));
    if (chunks > 1 && !failed) {
        memset(total, 0, (size_t)slot * sizeof *total);
        mf_add_chunks(total, partial, chunks, slot);
    }
    if (chunks > 1) free(partial);
    double *H = total + 1 + n;
    if (hessian && !failed)
        finish(H, H + n * n, also.curved ? also.ncurved : n, hessian > 1 && !coarse && !also.curved);
    if (also.curved && hessian && !failed) spread(H, n, also.curved, also.ncurved);
    return failed;
}
