/* Part of rows_impl.h: gradients of many objectives, each with its own multiplicities of the rows. */

/* Return whether VL rows have unrelated, equal or consecutive bins, which decides how multiplicities are loaded. */
static int FN(bin_kind)(const int32_t *bin, ptrdiff_t rows) {
    int same = 1, next = 1;
    if (rows < VL) return MF_BINS_UNRELATED;
    for (ptrdiff_t i = 1; i < VL; i++) {
        same &= bin[i] == bin[0];
        next &= bin[i] == bin[0] + i;
    }
    return same ? MF_BINS_EQUAL : next ? MF_BINS_CONSECUTIVE : MF_BINS_UNRELATED;
}

/* Multiplicities of VL rows in one objective; only the first `rows` of them exist. */
static inline __attribute__((always_inline)) V FN(multiplicity)(const float *mult, const int32_t *bin, int kind,
                                                                ptrdiff_t rows) {
    if (kind == MF_BINS_EQUAL) return FN(splat)((REAL)mult[bin[0]]);
    if (kind == MF_BINS_CONSECUTIVE) {
#if WIDE
        return FN(widened)(mult + bin[0]);
#else
        return FN(loadu)(mult + bin[0]);
#endif
    }
    V x = {0};
    for (ptrdiff_t i = 0; i < VL && i < rows; i++) x[i] = (REAL)mult[bin[i]];
    return x;
}

/* s[y][x] = p . w for VL rows each of `ng` neighbouring groups x and `nj` mixtures y. */
static inline __attribute__((always_inline)) void FN(products)(const REAL *p, ptrdiff_t ld, const REAL *w,
                                                               ptrdiff_t ncol, V (*s)[2], const int nj, const int ng) {
    MF_UNROLL(4)
    for (int y = 0; y < nj; y++) s[y][0] = s[y][1] = (V){0};
    for (ptrdiff_t k = 0; k < ncol; k++) {
        V a = FN(loadu)(p + k * ld), b = ng > 1 ? FN(loadu)(p + k * ld + VL) : (V){0};
        MF_UNROLL(4)
        for (int y = 0; y < nj; y++) {
            s[y][0] += a * w[y * ncol + k];
            if (ng > 1) s[y][1] += b * w[y * ncol + k];
        }
    }
}

/* out[y * ncol + x] -= scale * sum p_x r_y over the groups, for `nk` domains x and `nj` objectives y. */
static inline __attribute__((always_inline)) void FN(subtract_gradients)(const REAL *p, ptrdiff_t ld, const REAL *r,
                                                                         ptrdiff_t block, ptrdiff_t groups, double *out,
                                                                         ptrdiff_t ncol, double scale, const int nk,
                                                                         const int nj) {
    V acc[4][4] = {{{0}}};
    for (ptrdiff_t g = 0; g < groups; g++) {
        V a[4], b[4];
        MF_UNROLL(4)
        for (int x = 0; x < nk; x++) a[x] = FN(loadu)(p + x * ld + g * VL);
        MF_UNROLL(4)
        for (int y = 0; y < nj; y++) b[y] = FN(loadu)(r + y * block + g * VL);
        MF_UNROLL(4)
        for (int x = 0; x < nk; x++) {
            MF_UNROLL(4)
            for (int y = 0; y < nj; y++) acc[x][y] += a[x] * b[y];
        }
    }
    for (int x = 0; x < nk; x++)
        for (int y = 0; y < nj; y++) out[y * ncol + x] -= FN(hsum)(acc[x][y]) * scale;
}

/* r[y * block + i] = (weight of row i in objective j0 + y) / (p_i . w), for `nj` objectives. */
static inline __attribute__((always_inline)) void FN(weight_ratios)(const mf_task *task, ptrdiff_t row, ptrdiff_t row1,
                                                                    const REAL *p, ptrdiff_t ld, const REAL *w,
                                                                    ptrdiff_t groups, const int *kind, ptrdiff_t j0,
                                                                    REAL *r, const int nj) {
    const mf_rows *t = task->rows;
    for (ptrdiff_t g = 0; g < groups; g += 2) {
        V s[4][2];
        const int ng = g + 1 < groups ? 2 : 1;
        if (ng > 1)
            FN(products)(p + g * VL, ld, w, t->ncol, s, nj, 2);
        else
            FN(products)(p + g * VL, ld, w, t->ncol, s, nj, 1);
        for (int x = 0; x < ng; x++) {
            const ptrdiff_t at = row + (g + x) * VL;
            const V c = FN(row_weights)(t, at, row1);
            MF_UNROLL(4)
            for (int y = 0; y < nj; y++) {
                V weight = c;
                if (kind)
                    weight *=
                        FN(multiplicity)(task->mult + (j0 + y) * task->bins, task->bin + at, kind[g + x], row1 - at);
                /* A row of weight 0 may have probability 0. */
                FN(storeu)(r + y * task->block + (g + x) * VL, FN(select)(weight > (REAL)0, weight / s[y][x], (V){0}));
            }
        }
    }
}

/* How many runs (neighbouring rows with the same bin) are summed before they are multiplied. */
#define RUNS 64

/* Gradients of all objectives at the same mixture, with ratios r: the rows of each run are summed only once. */
static void FN(subtract_runs)(const mf_task *task, ptrdiff_t row, ptrdiff_t rows, const REAL *p, ptrdiff_t ld,
                              const REAL *r, double *sums, double *out) {
    const ptrdiff_t ncol = task->rows->ncol, padded = (ncol + DL - 1) / DL * DL;
    const int32_t *bin = task->bin + row;
    for (ptrdiff_t i = 0; i < rows;) {
        ptrdiff_t runs = 0, first[RUNS];
        for (; runs < RUNS && i < rows; runs++) {
            ptrdiff_t end = i + 1;
            while (end < rows && bin[end] == bin[i]) end++;
            for (ptrdiff_t k = 0; k < ncol; k++) {
                const REAL *pk = p + k * ld;
                V acc = {0};
                ptrdiff_t x = i;
                for (; x + VL <= end; x += VL) acc += FN(loadu)(pk + x) * FN(loadu)(r + x);
                double sum = end - i < VL ? 0 : FN(hsum)(acc);
                for (; x < end; x++) sum += (double)(pk[x] * r[x]);
                sums[runs * padded + k] = sum * task->rows->scale;
            }
            first[runs] = bin[i];
            i = end;
        }
        for (ptrdiff_t j = 0; j < task->m; j++) {
            const float *mult = task->mult + j * task->bins;
            if (mf_interrupted((double)(runs * padded))) return;
            for (ptrdiff_t k = 0; k < padded; k += DL) {
                VD acc[2] = {{0}};
                ptrdiff_t u = 0;
                for (; u + 1 < runs; u += 2) {
                    acc[0] += *(const VD *)(sums + u * padded + k) * (double)mult[first[u]];
                    acc[1] += *(const VD *)(sums + (u + 1) * padded + k) * (double)mult[first[u + 1]];
                }
                if (u < runs) acc[0] += *(const VD *)(sums + u * padded + k) * (double)mult[first[u]];
                acc[0] += acc[1];
                for (ptrdiff_t i = 0; i < DL && k + i < ncol; i++) out[j * ncol + k + i] -= acc[0][i];
            }
        }
    }
}

static void FN(gradients_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, block = task->block, m = task->m;
    const ptrdiff_t ld0 = t->panels ? t->block : block + VL, points = task->shared ? 1 : m;
    const ptrdiff_t padded = (ncol + DL - 1) / DL * DL;
    char *at = memory;
    REAL *w = mf_reserve(&at, points * ncol * (ptrdiff_t)sizeof(REAL));
    REAL *r = mf_reserve(&at, 4 * block * (ptrdiff_t)sizeof(REAL));
    REAL *top = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *panel = mf_reserve(&at, ncol * ld0 * (ptrdiff_t)sizeof(REAL));
    REAL *scratch = mf_reserve(&at, VL * (ncol + VL) * (ptrdiff_t)sizeof(REAL));
    double *sums = mf_reserve(&at, RUNS * padded * (ptrdiff_t)sizeof(double));
    int *kind = mf_reserve(&at, block * (ptrdiff_t)sizeof(int));
    for (ptrdiff_t i = 0; i < points * ncol; i++) w[i] = (REAL)task->mixtures[i];
    mf_clear(out, m * ncol);
    memset(sums, 0, (size_t)(RUNS * padded) * sizeof(double));

    for (ptrdiff_t row = row0; row < row1; row += block) {
        const ptrdiff_t rows = row1 - row < block ? row1 - row : block;
        const ptrdiff_t groups = (rows + VL - 1) / VL;
        ptrdiff_t ld = ld0;
        const REAL *p = FN(panel)(t, row, row1, groups, panel, &ld, top, scratch);
        if (task->shared) {
            FN(weight_ratios)(task, row, row1, p, ld, w, groups, NULL, 0, r, 1);
            FN(subtract_runs)(task, row, rows, p, ld, r, sums, out);
            continue;
        }
        if (task->mult)
            for (ptrdiff_t g = 0; g < groups; g++)
                kind[g] = FN(bin_kind)(task->bin + row + g * VL, row1 - row - g * VL);
        for (ptrdiff_t j = 0; j < m;) {
            const int nj = m - j < 4 ? 1 : 4;
            if (mf_interrupted((double)(nj * rows * ncol))) return;
            if (nj == 4)
                FN(weight_ratios)(task, row, row1, p, ld, w + j * ncol, groups, task->mult ? kind : NULL, j, r, 4);
            else
                FN(weight_ratios)(task, row, row1, p, ld, w + j * ncol, groups, task->mult ? kind : NULL, j, r, 1);
            for (ptrdiff_t k = 0; k < ncol;) {
                const int nk = ncol - k < 4 ? 1 : 4;
                const REAL *pk = p + k * ld;
                double *o = out + j * ncol + k;
                if (nj == 4 && nk == 4)
                    FN(subtract_gradients)(pk, ld, r, block, groups, o, ncol, t->scale, 4, 4);
                else if (nj == 4)
                    FN(subtract_gradients)(pk, ld, r, block, groups, o, ncol, t->scale, 1, 4);
                else if (nk == 4)
                    FN(subtract_gradients)(pk, ld, r, block, groups, o, ncol, t->scale, 4, 1);
                else
                    FN(subtract_gradients)(pk, ld, r, block, groups, o, ncol, t->scale, 1, 1);
                k += nk;
            }
            j += nj;
        }
    }
}

static size_t FN(gradients_memory)(const mf_task *task) {
    const ptrdiff_t ncol = task->rows->ncol, block = task->block;
    size_t bytes = (size_t)((task->shared ? 1 : task->m) * ncol + 5 * block) * sizeof(REAL);
    bytes += (size_t)(RUNS * (ncol + DL)) * sizeof(double) + (size_t)block * sizeof(int);
    return bytes +
           (size_t)(ncol * ((task->rows->panels ? task->rows->block : block) + VL) + VL * (ncol + VL)) * sizeof(REAL) +
           10 * 64;
}
