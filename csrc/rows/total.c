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

int mf_total(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, double *total,
             int threads) {
    const ptrdiff_t n = rows->ncol, slot = mf_slot(n, hessian);
    ptrdiff_t chunk_rows;
    const ptrdiff_t chunks = mf_plan_chunks(rows->n, n, hessian, &chunk_rows);
    double *partial = chunks == 1 ? total : malloc((size_t)(chunks * slot) * sizeof *partial);
    if (!partial) return -1;
    const int failed =
        mf_sums(rows, mixture, value, hessian, coarse, 0, chunks, partial, mf_useful_threads(rows, hessian, threads));
    if (chunks > 1 && !failed) {
        memset(total, 0, (size_t)slot * sizeof *total);
        mf_add_chunks(total, partial, chunks, slot);
    }
    if (chunks > 1) free(partial);
    if (hessian && !failed) finish(total + 1 + n, total + 1 + n + n * n, n, hessian > 1 && !coarse);
    return failed;
}
