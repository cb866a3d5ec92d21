/* Part of rows_impl.h: value, gradient and Hessian directly from a table.
 *
 * Rows stay row-major, and are handled in strips whose probabilities stay in L1: first all exponentials of a strip and
 * the sums p.w lane by lane, then the ratios c / s of its rows, then gradient += p c / s. Each of these three loops is
 * long enough to hide the latency of its instructions, which row by row follow one another. */

/* Columns that the Hessian is computed over. */
static ptrdiff_t FN(curved)(const mf_task *task) { return task->also.curved ? task->also.ncurved : task->rows->ncol; }

/* Rows of a strip: a multiple of VL that divides 512, whose probabilities take at most 16 KB if VL rows do. */
static ptrdiff_t FN(strip_rows)(ptrdiff_t padded) {
    ptrdiff_t rows = 64;
    while (rows > VL && rows * padded > (16 << 10) / (ptrdiff_t)sizeof(REAL)) rows /= 2;
    return rows;
}

/* Rows [row, row + rows) of the table, the last one repeated past `end`: their own place if full-width loads stay
 * inside the table (they may run past the end of a row), otherwise copies in `own`. Sets the elements from one to the
 * next. */
static const REAL *FN(strip)(const mf_rows *t, ptrdiff_t row, ptrdiff_t end, ptrdiff_t rows, REAL *own,
                             ptrdiff_t *apart) {
    const ptrdiff_t padded = (t->ncol + VL - 1) / VL * VL;
    const int native = t->cols == NULL && t->dtype == (WIDE ? MF_F64 : MF_F32);
    const REAL *rp[VL_CONST];
    *apart = t->stride;
    if (native && (row + rows) * t->stride + VL <= t->n * t->stride) return (const REAL *)t->data + row * t->stride;
    *apart = padded;
    for (ptrdiff_t g = 0; g < rows; g += VL) {
        REAL *copy = own + g * padded;
        FN(point_at_rows)(t, NULL, row + g < end ? row + g : end - 1, end, rp, copy);
        for (ptrdiff_t r = 0; rp[0] != copy && r < VL; r++)
            memcpy(copy + r * padded, rp[r], (size_t)t->ncol * sizeof(REAL));
    }
    return own;
}

/* The largest element of each row: VL partial ones, which row_maxima() ends. `present` are the lanes of the last tile
 * that hold a domain. */
static inline V FN(largest)(const REAL *row, ptrdiff_t padded, VI present) {
    V best = FN(splat)(-(REAL)INFINITY);
    ptrdiff_t k = 0;
    for (; k < padded - VL; k += VL) best = FN(maximum)(FN(loadu)(row + k), best);
    return FN(maximum)(FN(select)(present, FN(loadu)(row + k), FN(splat)(-(REAL)INFINITY)), best);
}

/* Rows that exponentials are taken of at once, because each waits for its own instructions: as many as the registers
 * hold. */
#define ROWS_AT_ONCE (VBYTES == 64 ? 4 : 2)

/* p = exp(x - top) of ROWS_AT_ONCE rows, 0 in the lanes that hold no domain; `lanes` receives VL partial sums of p.w of
 * each. */
static inline __attribute__((always_inline)) void FN(exponentials)(const REAL *x, ptrdiff_t apart, REAL *p,
                                                                   const REAL *top, ptrdiff_t padded, VI present,
                                                                   const REAL *w, const REAL *w_low, ptrdiff_t ahead,
                                                                   REAL *lanes, const int shift, const int bounded,
                                                                   const int coarse) {
    V sum[ROWS_AT_ONCE] = {{0}};
    for (ptrdiff_t k = 0; k < padded; k += VL) {
        const VI mask = k == padded - VL ? present : ~(VI){0};
        const V high = FN(loadu)(w + k), low = FN(loadu)(w_low + k);
        V e[ROWS_AT_ONCE];
        MF_UNROLL(4)
        for (int r = 0; r < ROWS_AT_ONCE; r++) {
            e[r] = FN(loadu)(x + r * apart + k);
            __builtin_prefetch(x + r * apart + k + ahead);
            e[r] = shift ? FN(exp)(e[r] - top[r], 0) : FN(exp)(e[r], bounded);
            e[r] = (V)((VI)e[r] & mask);
            FN(storeu)(p + r * padded + k, e[r]);
            sum[r] = coarse ? sum[r] + e[r] * high : FN(add_product)(sum[r], e[r], high, low);
        }
    }
    MF_UNROLL(4)
    for (int r = 0; r < ROWS_AT_ONCE; r++) FN(storeu)(lanes + r * VL, sum[r]);
}

/* gradient += p r over the rows of a strip, for `tiles` vectors of domains. Coarse: in the panels' precision within the
 * strip. Two sums for each: one alone would wait for each of its additions. */
static inline __attribute__((always_inline)) void FN(add_strip)(const REAL *p, ptrdiff_t padded, ptrdiff_t rows,
                                                                const void *ratio, double *gacc, const int tiles,
                                                                const int coarse) {
    const REAL *rough = ratio;
    const double *fine = ratio;
    if (coarse) {
        V acc[2][2] = {{{0}}};
        for (ptrdiff_t r = 0; r < rows; r += 2) {
            MF_UNROLL(2)
            for (int odd = 0; odd < 2; odd++) {
                V one = FN(splat)(rough[r + odd]);
                MF_UNROLL(2)
                for (int i = 0; i < tiles; i++) acc[i][odd] += FN(loadu)(p + (r + odd) * padded + i * VL) * one;
            }
        }
        MF_UNROLL(2)
        for (int i = 0; i < tiles; i++) {
            REAL sum[VL_CONST] __attribute__((aligned(64)));
            *(V *)sum = acc[i][0] + acc[i][1];
            for (int l = 0; l < VL_CONST; l++) gacc[i * VL + l] += (double)sum[l];
        }
        return;
    }
    VD acc[2][2][WIDE ? 1 : 2] = {{{{0}}}};
    MF_UNROLL(2)
    for (int i = 0; i < tiles; i++) memcpy(acc[i][0], gacc + i * VL, sizeof acc[i][0]);
    for (ptrdiff_t r = 0; r < rows; r += 2) {
        MF_UNROLL(2)
        for (int odd = 0; odd < 2; odd++) {
            VD one = fine[r + odd] - (VD){0};
            MF_UNROLL(2)
            for (int i = 0; i < tiles; i++) FN(accumulate)(acc[i][odd], p + (r + odd) * padded + i * VL, &one, 1);
        }
    }
    MF_UNROLL(2)
    for (int i = 0; i < tiles; i++) {
        MF_UNROLL(2)
        for (int l = 0; l < (WIDE ? 1 : 2); l++) acc[i][0][l] += acc[i][1][l];
        memcpy(gacc + i * VL, acc[i][0], sizeof acc[i][0]);
    }
}

/* Put u = p q of VL rows into the buffer of the Hessian, domain by domain; `place` is that of a column, -1 for none. */
static inline void FN(add_to_buffer)(FN(buffer) * buffer, const REAL *p, ptrdiff_t padded, V q,
                                     const ptrdiff_t *place) {
    for (ptrdiff_t k = 0; k < padded; k += VL) {
        V a[VL_CONST];
        MF_UNROLL(16)
        for (int r = 0; r < VL_CONST; r++) a[r] = FN(loadu)(p + r * padded + k);
        FN(transpose)(a);
        MF_UNROLL(16)
        for (int j = 0; j < VL_CONST; j++)
            if (place[k + j] >= 0) FN(storeu)(buffer->u + place[k + j] * buffer->ld + buffer->filled, a[j] * q);
    }
    buffer->filled += VL;
}

static inline __attribute__((always_inline)) void FN(table_sums)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1,
                                                                 double *out, void *memory, const int shift,
                                                                 const int bounded, const int coarse) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, padded = (ncol + VL - 1) / VL * VL, block = 512, strip = FN(strip_rows)(padded);
    char *at = memory;
    double *gacc = mf_reserve(&at, padded * (ptrdiff_t)sizeof(double));
    double *dacc = mf_reserve(&at, padded * (ptrdiff_t)sizeof(double));
    REAL *w = mf_reserve(&at, padded * (ptrdiff_t)sizeof(REAL));
    REAL *w_low = mf_reserve(&at, padded * (ptrdiff_t)sizeof(REAL));
    REAL *s = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *top = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *q = mf_reserve(&at, strip * (ptrdiff_t)sizeof(REAL));
    double *ratio = mf_reserve(&at, strip * (ptrdiff_t)sizeof(double));
    REAL *lanes = mf_reserve(&at, strip * VL * (ptrdiff_t)sizeof(REAL)); /* of the sums of each row */
    REAL *p = mf_reserve(&at, strip * padded * (ptrdiff_t)sizeof(REAL));
    const ptrdiff_t curved = FN(curved)(task);
    FN(buffer) buffer = {NULL, FN(buffer_rows)(curved), FN(buffer_rows)(curved) + VL, 0};
    if (task->hessian) buffer.u = mf_reserve(&at, curved * buffer.ld * (ptrdiff_t)sizeof(REAL));
    ptrdiff_t *place = mf_reserve(&at, padded * (ptrdiff_t)sizeof *place); /* of a column in the Hessian; -1 for none */
    for (ptrdiff_t k = 0; k < padded; k++) place[k] = task->also.curved || k >= ncol ? -1 : k;
    for (ptrdiff_t j = 0; task->also.curved && j < curved; j++) place[task->also.curved[j]] = j;
    double *hessian = out + 1 + ncol, *diagonal = hessian + ncol * ncol;
    const int estimated = !coarse && task->hessian > 1; /* the Hessian comes from sampled rows, its diagonal from all */
    VI present;                                         /* lanes of the last tile that hold a domain */
    for (ptrdiff_t i = 0; i < VL; i++) present[i] = padded - VL + i < ncol ? -1 : 0;
    FN(split)(task->mixtures, ncol, padded, w, w_low);
    memset(gacc, 0, (size_t)padded * sizeof(double));
    memset(dacc, 0, (size_t)padded * sizeof(double));
    memset(p, 0, (size_t)(strip * padded) * sizeof(REAL));
    if (task->hessian) mf_clear(hessian, ncol * ncol + ncol);
    /* Prefetch about 8 KB ahead: between bursts of arithmetic the hardware prefetcher falls behind. */
    const ptrdiff_t ahead = t->stride * VL >= (ptrdiff_t)(8192 / sizeof(REAL))
                                ? (ptrdiff_t)(1024 / sizeof(REAL))
                                : (ptrdiff_t)(8192 / sizeof(REAL)) / (t->stride * VL) * t->stride * VL;
    double log_sum = 0;
    int dead = 0;

    for (ptrdiff_t row = row0; row < row1; row += block) {
        const ptrdiff_t count = row1 - row < block ? row1 - row : block;
        VI low = {0};
        if (mf_interrupted((double)(4 * count * ncol))) return;
        for (ptrdiff_t begin = 0; begin < count; begin += strip) {
            const ptrdiff_t first = row + begin;
            const ptrdiff_t rows = count - begin < strip ? (count - begin + VL - 1) / VL * VL : strip;
            ptrdiff_t apart;
            const REAL *x = FN(strip)(t, first, row1, rows, p, &apart);
            if (shift) {
                for (ptrdiff_t r = 0; r < rows; r++)
                    FN(storeu)(lanes + r * VL, FN(largest)(x + r * apart, padded, present));
                for (ptrdiff_t g = 0; g < rows; g += VL) {
                    V best[VL_CONST];
                    MF_UNROLL(16)
                    for (int r = 0; r < VL_CONST; r++) best[r] = FN(loadu)(lanes + (g + r) * VL);
                    FN(storeu)(top + begin + g, FN(row_maxima)(best));
                }
            }
            for (ptrdiff_t r = 0; r < rows; r += ROWS_AT_ONCE)
                FN(exponentials)(x + r * apart, apart, p + r * padded, top + begin + r, padded, present, w, w_low,
                                 ahead, lanes + r * VL, shift, bounded, coarse);
            for (ptrdiff_t g = 0; g < rows; g += VL) {
                V sums[VL_CONST];
                MF_UNROLL(16)
                for (int r = 0; r < VL_CONST; r++) sums[r] = FN(loadu)(lanes + (g + r) * VL);
                V sum = FN(row_sums)(sums);
                const V c = FN(row_weights)(t, first + g, row1);
                sum = FN(select)(c == (REAL)0, FN(splat)((REAL)1), sum); /* rows of weight 0: log 1 */
                low |= sum < TINY;
                FN(storeu)(s + begin + g, sum);
                if (coarse)
                    FN(storeu)((REAL *)ratio + g, c / sum);
                else
                    FN(ratios)(ratio + g, c, sum);
                if (task->hessian) FN(storeu)(q + g, FN(root_ratio)(t, c, sum));
            }
            ptrdiff_t k = 0;
            for (; k + 2 * VL <= padded; k += 2 * VL) FN(add_strip)(p + k, padded, rows, ratio, gacc + k, 2, coarse);
            if (k < padded) FN(add_strip)(p + k, padded, rows, ratio, gacc + k, 1, coarse);
            for (ptrdiff_t g = 0; coarse && task->also.influence && g < rows; g += VL) {
                V best[VL_CONST], most = FN(splat)((REAL)1); /* that of a row whose maximum was subtracted */
                for (ptrdiff_t r = 0; !shift && r < VL; r++)
                    best[r] = FN(largest)(p + (g + r) * padded, padded, present);
                if (!shift) most = FN(row_maxima)(best);
                most /= FN(loadu)(s + begin + g);
                for (ptrdiff_t r = 0; r < VL && first + g + r < row1; r++)
                    task->also.influence[first + g + r] = (float)most[r];
            }
            for (k = 0; estimated && k < padded; k += VL) {
                V squares = {0};
                for (ptrdiff_t r = 0; r < rows; r++) {
                    V u = FN(loadu)(p + r * padded + k) * q[r];
                    squares += u * u;
                }
                for (ptrdiff_t i = 0; i < VL; i++) dacc[k + i] += (double)squares[i];
            }
            for (ptrdiff_t g = 0; task->hessian && g < rows; g += VL) {
                if (!mf_sampled(first + g, task->hessian)) continue;
                FN(add_to_buffer)(&buffer, p + g * padded, padded, FN(loadu)(q + g), place);
                if (buffer.filled == buffer.capacity) FN(flush)(&buffer, curved, hessian);
            }
        }
        for (ptrdiff_t i = 0; i < VL; i++) dead |= low[i] != 0;
        const ptrdiff_t groups = (count + VL - 1) / VL;
        if (task->value) log_sum += FN(sum_of_logs)(t, s, row, row1, groups) + FN(sum_of_shifts)(t, top, row, count);
    }
    out[0] = dead ? (double)INFINITY : -log_sum * t->scale;
    for (ptrdiff_t k = 0; k < ncol; k++) out[1 + k] = -gacc[k] * t->scale;
    if (task->hessian) {
        FN(flush)(&buffer, curved, hessian);
        for (ptrdiff_t i = 0; i < curved * curved; i++) hessian[i] *= t->scale * (double)task->hessian;
        for (ptrdiff_t k = 0; k < ncol; k++) diagonal[k] = dacc[k] * t->scale;
    }
}

#undef ROWS_AT_ONCE

static void FN(table_sums_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
#define TABLE_SUMS(shift, bounded)                                            \
    do {                                                                      \
        if (task->coarse)                                                     \
            FN(table_sums)(task, row0, row1, out, memory, shift, bounded, 1); \
        else                                                                  \
            FN(table_sums)(task, row0, row1, out, memory, shift, bounded, 0); \
    } while (0)
    if (task->rows->shift)
        TABLE_SUMS(1, 0);
    else if (task->rows->bounded)
        TABLE_SUMS(0, 1);
    else
        TABLE_SUMS(0, 0);
#undef TABLE_SUMS
}

static size_t FN(table_sums_memory)(const mf_task *task) {
    const ptrdiff_t ncol = task->rows->ncol, padded = (ncol + VL - 1) / VL * VL, curved = FN(curved)(task);
    const ptrdiff_t strip = FN(strip_rows)(padded), block = 512;
    return (size_t)(2 * padded + strip) * sizeof(double) +
           (size_t)(2 * padded + 2 * block + strip * (1 + VL + padded)) * sizeof(REAL) +
           (size_t)padded * sizeof(ptrdiff_t) +
           (task->hessian ? (size_t)(curved * (FN(buffer_rows)(curved) + VL)) * sizeof(REAL) : 0) + 12 * 64;
}
