/* Part of rows_impl.h: value, gradient and Hessian from packed panels, and the parts of sums of a table that are the
 * same. */

/* Domains down a tile of the Hessian, which are four across: of 16 registers, 4 x 4 sums would leave none to their
 * operands. */
#if VBYTES == 64
#define TILE 4
#else
#define TILE 2
#endif

/* Add 4 sums across for each of `ni` domains down. */
static inline __attribute__((always_inline)) void FN(add_tile)(V (*acc)[4], double *hessian, ptrdiff_t ncol,
                                                               const int ni) {
    REAL sums[16];
    MF_UNROLL(8)
    for (int first = 0; first < 4 * ni; first += VL_CONST) {
        V part[VL_CONST]; /* a copy: taking the address of acc would keep it out of the registers */
        MF_UNROLL(16)
        for (int e = 0; e < VL_CONST; e++) part[e] = acc[(first + e) / 4][(first + e) % 4];
        FN(storeu)(sums + first, FN(row_sums)(part));
    }
    MF_UNROLL(4)
    for (int x = 0; x < ni; x++) {
        MF_UNROLL(4)
        for (int y = 0; y < 4; y++) hessian[x * ncol + y] += (double)sums[4 * x + y];
    }
}

/* hessian += u u' of domains [i, i + ni) with [j, j + nj). */
static inline __attribute__((always_inline)) void FN(tile)(const REAL *u, ptrdiff_t ld, ptrdiff_t i, ptrdiff_t j,
                                                           ptrdiff_t groups, double *hessian, ptrdiff_t ncol,
                                                           const int ni, const int nj) {
    V acc[TILE][4] = {{{0}}};
    for (ptrdiff_t g = 0; g < groups; g++) {
        V a[TILE];
        MF_UNROLL(4)
        for (int x = 0; x < ni; x++) a[x] = FN(loadu)(u + (i + x) * ld + g * VL);
        MF_UNROLL(4)
        for (int y = 0; y < nj; y++) {
            V b = FN(loadu)(u + (j + y) * ld + g * VL);
            MF_ROUNDED(b); /* otherwise the compiler loads it again for each product, and loads take longer than sums */
            MF_UNROLL(4)
            for (int x = 0; x < ni; x++) acc[x][y] += a[x] * b;
        }
    }
    if (ni == TILE && nj == 4) {
        FN(add_tile)(acc, hessian + i * ncol + j, ncol, TILE);
        return;
    }
    for (int x = 0; x < ni; x++)
        for (int y = 0; y < nj; y++) hessian[(i + x) * ncol + j + y] += FN(hsum)(acc[x][y]);
}

/* The same of domains [i, i + 4) with one another, on and below the diagonal. */
static inline __attribute__((always_inline)) void FN(triangle)(const REAL *u, ptrdiff_t ld, ptrdiff_t i,
                                                               ptrdiff_t groups, double *hessian, ptrdiff_t ncol) {
    V acc[4][4] = {{{0}}};
    for (ptrdiff_t g = 0; g < groups; g++) {
        V a[4];
        MF_UNROLL(4)
        for (int x = 0; x < 4; x++) {
            a[x] = FN(loadu)(u + (i + x) * ld + g * VL);
            MF_UNROLL(4)
            for (int y = 0; y <= x; y++) acc[x][y] += a[x] * a[y];
        }
    }
    FN(add_tile)(acc, hessian + i * ncol + i, ncol, 4);
}

/* hessian += u u' over the rows of the block: on and below the diagonal, with 0 above it. */
static void FN(syrk)(const REAL *u, ptrdiff_t ld, ptrdiff_t groups, ptrdiff_t ncol, double *hessian) {
    ptrdiff_t full = ncol / 4 * 4;
    for (ptrdiff_t i = 0; i < full; i += TILE) {
        if (mf_interrupted((double)(i * groups * TILE))) return;
        for (ptrdiff_t j = 0; j < i / 4 * 4; j += 4) FN(tile)(u, ld, i, j, groups, hessian, ncol, TILE, 4);
        if (i % 4 == 0) FN(triangle)(u, ld, i, groups, hessian, ncol);
    }
    for (ptrdiff_t i = full; i < ncol; i++) {
        for (ptrdiff_t j = 0; j < full; j += 4) FN(tile)(u, ld, i, j, groups, hessian, ncol, 1, 4);
        for (ptrdiff_t j = full; j <= i; j++) FN(tile)(u, ld, i, j, groups, hessian, ncol, 1, 1);
    }
}
#undef TILE

/* Rows u = p sqrt(c) / s of the Hessian's outer products, domain by domain: a buffer that is flushed when full, because
 * long sums are cheaper. */
typedef struct {
    REAL *u;
    ptrdiff_t capacity, ld, filled; /* rows it holds, elements from one domain to the next, rows in it */
} FN(buffer);

static ptrdiff_t FN(buffer_rows)(ptrdiff_t ncol) {
#if WIDE
    ptrdiff_t rows = (24 << 10) / (ptrdiff_t)sizeof(REAL) / ncol / 32 * 32;
    return rows < 128 ? 128 : rows > 512 ? 512 : rows;
#else
    /* Short vectors are read faster than the second level of the cache gives them: what they read must fit into the
     * first. */
    ptrdiff_t rows = (VBYTES == 64 ? 96 << 10 : 24 << 10) / (ptrdiff_t)sizeof(REAL) / ncol / VL * VL;
    return rows < 4 * VL ? 4 * VL : rows > 512 ? 512 : rows;
#endif
}

static void FN(flush)(FN(buffer) * buffer, ptrdiff_t ncol, double *hessian) {
    FN(syrk)(buffer->u, buffer->ld, buffer->filled / VL, ncol, hessian);
    buffer->filled = 0;
}

/* sqrt(c) / s */
static inline V FN(root_ratio)(const mf_rows *t, V c, V sum) {
    if (t->weight) {
        REAL root[VL_CONST]; /* an array: the compiler takes its roots at once, those of a vector one by one */
        FN(storeu)(root, c);
        for (int i = 0; i < VL_CONST; i++) root[i] = FSQRT(root[i]);
        c = FN(loadu)(root);
    }
    return c / sum;
}

/* gradient += p r over the block: in float, or in double with one sum per lane. */
static inline __attribute__((always_inline)) void FN(add_gradient)(const REAL *p, ptrdiff_t ld, const void *ratio,
                                                                   ptrdiff_t groups, ptrdiff_t ncol, double *gacc,
                                                                   const int coarse) {
    const REAL *rough = ratio;
    const double *fine = ratio;
    ptrdiff_t k = 0;
    for (; coarse && k + 4 <= ncol; k += 4) {
        V acc[4] = {{0}};
        for (ptrdiff_t g = 0; g < groups; g++) {
            V r = FN(loadu)(rough + g * VL);
            MF_UNROLL(4)
            for (int j = 0; j < 4; j++) acc[j] += FN(loadu)(p + (k + j) * ld + g * VL) * r;
        }
        for (int j = 0; j < 4; j++) gacc[(k + j) * VL] += FN(hsum)(acc[j]);
    }
    for (; coarse && k < ncol; k++) {
        V acc = {0};
        for (ptrdiff_t g = 0; g < groups; g++) acc += FN(loadu)(p + k * ld + g * VL) * FN(loadu)(rough + g * VL);
        gacc[k * VL] += FN(hsum)(acc);
    }
    for (; !coarse && k + 4 <= ncol; k += 4) { /* four at a time: one sum alone waits for each of its additions */
        VD acc[4][WIDE ? 1 : 2];
        MF_UNROLL(4)
        for (int j = 0; j < 4; j++) memcpy(acc[j], gacc + (k + j) * VL, sizeof acc[j]);
        for (ptrdiff_t g = 0; g < groups; g++) {
            MF_UNROLL(4)
            for (int j = 0; j < 4; j++)
                FN(accumulate)(acc[j], p + (k + j) * ld + g * VL, (const VD *)(fine + g * VL), 0);
        }
        MF_UNROLL(4)
        for (int j = 0; j < 4; j++) memcpy(gacc + (k + j) * VL, acc[j], sizeof acc[j]);
    }
    for (; k < ncol; k++) {
        VD acc[WIDE ? 1 : 2];
        memcpy(acc, gacc + k * VL, sizeof acc);
        for (ptrdiff_t g = 0; g < groups; g++) FN(accumulate)(acc, p + k * ld + g * VL, (const VD *)(fine + g * VL), 0);
        memcpy(gacc + k * VL, acc, sizeof acc);
    }
}

static inline __attribute__((always_inline)) void FN(packed_sums)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1,
                                                                  double *out, void *memory, const int coarse) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, block = t->block, next = ncol * block;
    char *at = memory;
    double *gacc = mf_reserve(&at, ncol * VL * (ptrdiff_t)sizeof(double));
    REAL *w = mf_reserve(&at, ncol * (ptrdiff_t)sizeof(REAL));
    REAL *w_low = mf_reserve(&at, ncol * (ptrdiff_t)sizeof(REAL));
    REAL *s = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *q = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    void *ratio = mf_reserve(&at, block * (ptrdiff_t)sizeof(double));
    FN(buffer) buffer = {NULL, FN(buffer_rows)(ncol), FN(buffer_rows)(ncol) + VL, 0};
    if (task->hessian) buffer.u = mf_reserve(&at, ncol * buffer.ld * (ptrdiff_t)sizeof(REAL));
    double log_sum = 0;
    int dead = 0;

    FN(split)(task->mixtures, ncol, ncol, w, w_low);
    memset(gacc, 0, (size_t)(ncol * VL) * sizeof(double));
    double *gradient = out + 1, *hessian = out + 1 + ncol, *diagonal = hessian + ncol * ncol;
    const int estimated = !coarse && task->hessian > 1; /* the Hessian comes from sampled rows, its diagonal from all */
    if (task->hessian) mf_clear(hessian, ncol * ncol + ncol);

    for (ptrdiff_t row = row0; row < row1; row += block) {
        const ptrdiff_t rows = row1 - row < block ? row1 - row : block, groups = (rows + VL - 1) / VL;
        const REAL *p = (const REAL *)t->panels + row * ncol;
        VI low = {0};
        if (mf_interrupted((double)(2 * rows * ncol))) return;
        for (ptrdiff_t g = 0; g < groups; g++) {
            V sum = {0};
            for (ptrdiff_t j0 = 0; j0 < ncol;
                 j0 += 16) { /* in two levels: one running sum would accumulate rounding errors */
                const ptrdiff_t j1 = j0 + 16 < ncol ? j0 + 16 : ncol;
                V part = {0};
                for (ptrdiff_t j = j0; j < j1; j++) {
                    const REAL *at_row = p + j * block + g * VL;
                    __builtin_prefetch(at_row + next); /* the same place in the next packed block */
                    part = coarse ? part + FN(loadu)(at_row) * w[j]
                                  : FN(add_product)(part, FN(loadu)(at_row), FN(splat)(w[j]), FN(splat)(w_low[j]));
                }
                sum += part;
            }
            const V c = FN(row_weights)(t, row + g * VL, row1);
            sum = FN(select)(c == (REAL)0, FN(splat)((REAL)1), sum); /* rows of weight 0: log 1 */
            FN(storeu)(s + g * VL, sum);
            low |= sum < TINY;
            if (coarse)
                FN(storeu)((REAL *)ratio + g * VL, c / sum);
            else
                FN(ratios)((double *)ratio + g * VL, c, sum);
            if (estimated) FN(storeu)(q + g * VL, FN(root_ratio)(t, c, sum));
            if (task->hessian && mf_sampled(row + g * VL, task->hessian)) {
                V x = FN(root_ratio)(t, c, sum);
                for (ptrdiff_t k = 0; k < ncol; k++)
                    FN(storeu)(buffer.u + k * buffer.ld + buffer.filled, FN(loadu)(p + k * block + g * VL) * x);
                if ((buffer.filled += VL) == buffer.capacity) FN(flush)(&buffer, ncol, hessian);
            }
        }
        for (ptrdiff_t i = 0; i < VL; i++) dead |= low[i] != 0;
        if (task->value) log_sum += FN(sum_of_logs)(t, s, row, row1, groups) + FN(sum_of_shifts)(t, NULL, row, rows);
        FN(add_gradient)(p, block, ratio, groups, ncol, gacc, coarse);
        for (ptrdiff_t k = 0; estimated && k < ncol; k++) {
            V acc[2] = {{0}};
            for (ptrdiff_t g = 0; g < groups; g++) {
                V x = FN(loadu)(p + k * block + g * VL) * FN(loadu)(q + g * VL);
                acc[g & 1] += x * x;
            }
            diagonal[k] += FN(hsum)(acc[0] + acc[1]);
        }
    }
    out[0] = dead ? (double)INFINITY : -log_sum * t->scale;
    for (ptrdiff_t k = 0; k < ncol; k++) {
        double sum = 0;
        for (ptrdiff_t i = 0; i < VL; i++) sum += gacc[k * VL + i];
        gradient[k] = -sum * t->scale;
    }
    if (task->hessian) {
        FN(flush)(&buffer, ncol, hessian);
        for (ptrdiff_t i = 0; i < ncol * ncol; i++) hessian[i] *= t->scale * (double)task->hessian;
        for (ptrdiff_t k = 0; k < ncol; k++) diagonal[k] *= t->scale;
    }
}

#if WIDE
#include "cached_impl.h"
#endif

static void FN(packed_sums_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
#if WIDE
    if (FN(is_cached)(task)) {
        FN(cached_sums)(task, row0, row1, out, memory);
        return;
    }
#endif
    /* Constant arguments: each combination is compiled on its own. */
    if (task->coarse)
        FN(packed_sums)(task, row0, row1, out, memory, 1);
    else
        FN(packed_sums)(task, row0, row1, out, memory, 0);
}

static size_t FN(buffer_memory)(const mf_task *task) {
    return task->hessian ? (size_t)(task->rows->ncol * (FN(buffer_rows)(task->rows->ncol) + VL)) * sizeof(REAL) : 0;
}

static size_t FN(packed_sums_memory)(const mf_task *task) {
    const ptrdiff_t ncol = task->rows->ncol, block = task->rows->block;
    return (size_t)(ncol * VL + block) * sizeof(double) + (size_t)(2 * ncol + 2 * block) * sizeof(REAL) +
           FN(buffer_memory)(task) + 9 * 64;
}
