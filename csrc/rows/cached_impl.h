/* Part of rows_impl.h: value, gradient and Hessian of all packed rows in float64.
 *
 * Such tables are small and stay in the cache, so a sweep takes the time of its arithmetic, and packed_sums lets that
 * wait: the sum p.w of a row is one chain of dependent additions. Here, the rows of four vectors are summed at a time,
 * and the pass that sums the gradient also writes the rows of the Hessian. */

/* s = p.w and c / s of the groups [first, first + count) of a block. Returns the rows whose s underflows. */
static inline __attribute__((always_inline)) VI FN(cached_rows)(const mf_rows *t, const REAL *p, ptrdiff_t first,
                                                                ptrdiff_t row, ptrdiff_t row1, const REAL *w, REAL *s,
                                                                REAL *ratio, const int count) {
    const ptrdiff_t ncol = t->ncol, block = t->block;
    V sum[4] = {{0}};
    VI low = {0};
    for (ptrdiff_t j = 0; j < ncol; j++) {
        const V share = FN(splat)(w[j]);
        const REAL *at = p + j * block + first * VL;
        /* the same place in the next block: tables may be larger than the cache */
        for (int i = 0; i < count * VL; i += 8) __builtin_prefetch(at + ncol * block + i);
        MF_UNROLL(4)
        for (int g = 0; g < count; g++) sum[g] += FN(loadu)(at + g * VL) * share;
    }
    MF_UNROLL(4)
    for (int g = 0; g < count; g++) {
        const V c = FN(row_weights)(t, row + (first + g) * VL, row1);
        sum[g] = FN(select)(c == (REAL)0, FN(splat)((REAL)1), sum[g]); /* rows of weight 0: log 1 */
        low |= sum[g] < TINY;
        FN(storeu)(s + (first + g) * VL, sum[g]);
        FN(storeu)(ratio + (first + g) * VL, c / sum[g]);
    }
    return low;
}

/* gradient += p r of `count` domains, and u = p q for the Hessian. With equal weights, r and q are the same. */
static inline __attribute__((always_inline)) void FN(cached_columns)(const REAL *p, ptrdiff_t block, const REAL *r,
                                                                     const REAL *q, REAL *u, ptrdiff_t ld,
                                                                     ptrdiff_t groups, double *gacc, const int count,
                                                                     const int hessian, const int weighted) {
    V acc[8];
    MF_UNROLL(8)
    for (int j = 0; j < count; j++) acc[j] = FN(loadu)(gacc + j * VL);
    for (ptrdiff_t g = 0; g < groups; g++) {
        const V ratio = FN(loadu)(r + g * VL), root = weighted ? FN(loadu)(q + g * VL) : ratio;
        MF_UNROLL(8)
        for (int j = 0; j < count; j++) {
            const V x = FN(loadu)(p + j * block + g * VL);
            if (hessian && !weighted) {
                const V y = x * root;
                FN(storeu)(u + j * ld + g * VL, y);
                acc[j] += y;
            } else {
                if (hessian) FN(storeu)(u + j * ld + g * VL, x * root);
                acc[j] += x * ratio;
            }
        }
    }
    MF_UNROLL(8)
    for (int j = 0; j < count; j++) FN(storeu)(gacc + j * VL, acc[j]);
}

static inline __attribute__((always_inline)) void FN(cached_block)(const REAL *p, ptrdiff_t block, const REAL *r,
                                                                   const REAL *q, REAL *u, ptrdiff_t ld,
                                                                   ptrdiff_t groups, ptrdiff_t ncol, double *gacc,
                                                                   const int hessian, const int weighted) {
    ptrdiff_t k = 0;
    for (; k + 8 <= ncol; k += 8)
        FN(cached_columns)(p + k * block, block, r, q, u + k * ld, ld, groups, gacc + k * VL, 8, hessian, weighted);
    for (; k < ncol; k++)
        FN(cached_columns)(p + k * block, block, r, q, u + k * ld, ld, groups, gacc + k * VL, 1, hessian, weighted);
}

/* Whether cached_sums takes a sweep: all rows of a Hessian, or none. */
static int FN(is_cached)(const mf_task *task) { return task->hessian <= 1; }

/* A block has no more rows than the buffer: rows.pyx cuts float64 panels to 16 KB, or 32 rows, the buffer holds 24 KB,
 * or 128 rows. */
static void FN(cached_sums)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, block = t->block, capacity = FN(buffer_rows)(ncol), ld = capacity + VL;
    char *at = memory;
    double *gacc = mf_reserve(&at, ncol * VL * (ptrdiff_t)sizeof(double));
    REAL *s = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *q = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *ratio = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *u = task->hessian ? mf_reserve(&at, ncol * ld * (ptrdiff_t)sizeof(REAL)) : q;
    double *gradient = out + 1, *hessian = out + 1 + ncol, log_sum = 0;
    ptrdiff_t filled = 0;
    int dead = 0;
    memset(gacc, 0, (size_t)(ncol * VL) * sizeof(double));
    if (task->hessian) mf_clear(hessian, ncol * ncol + ncol);

    for (ptrdiff_t row = row0; row < row1; row += block) {
        const ptrdiff_t rows = row1 - row < block ? row1 - row : block, groups = (rows + VL - 1) / VL;
        const REAL *p = (const REAL *)t->panels + row * ncol;
        VI low = {0};
        ptrdiff_t g = 0;
        if (mf_interrupted((double)(2 * rows * ncol))) return;
        for (; g + 4 <= groups; g += 4) low |= FN(cached_rows)(t, p, g, row, row1, task->mixtures, s, ratio, 4);
        for (; g < groups; g++) low |= FN(cached_rows)(t, p, g, row, row1, task->mixtures, s, ratio, 1);
        for (ptrdiff_t i = 0; i < VL; i++) dead |= low[i] != 0;
        if (task->value) log_sum += FN(sum_of_logs)(t, s, row, row1, groups) + FN(sum_of_shifts)(t, NULL, row, rows);
        if (!task->hessian) {
            FN(cached_block)(p, block, ratio, ratio, u, 0, groups, ncol, gacc, 0, 0);
            continue;
        }
        if (filled + groups * VL > capacity) {
            FN(syrk)(u, ld, filled / VL, ncol, hessian);
            filled = 0;
        }
        if (t->weight) {
            for (g = 0; g < groups; g++) {
                const V c = FN(row_weights)(t, row + g * VL, row1);
                FN(storeu)(q + g * VL, FN(root_ratio)(t, c, FN(loadu)(s + g * VL)));
            }
            FN(cached_block)(p, block, ratio, q, u + filled, ld, groups, ncol, gacc, 1, 1);
        } else {
            FN(cached_block)(p, block, ratio, ratio, u + filled, ld, groups, ncol, gacc, 1, 0);
        }
        filled += groups * VL;
    }
    out[0] = dead ? (double)INFINITY : -log_sum * t->scale;
    for (ptrdiff_t k = 0; k < ncol; k++) {
        double sum = 0;
        for (ptrdiff_t i = 0; i < VL; i++) sum += gacc[k * VL + i];
        gradient[k] = -sum * t->scale;
    }
    if (!task->hessian) return;
    FN(syrk)(u, ld, filled / VL, ncol, hessian);
    for (ptrdiff_t i = 0; i < ncol * ncol; i++) hessian[i] *= t->scale;
}
