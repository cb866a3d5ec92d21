/* Part of rows_impl.h: losses of many candidate mixtures, gradients of many re-weighted objectives. */

/* ---- losses of many candidates ----------------------------------------------------------------------- */

#define MR 6
#if VBYTES == 64
#define NB 4
#else
#define NB 2
#endif

typedef struct {
    V product;
    VI exponent;
} FN(running);

static inline void FN(absorb)(FN(running) * x, V s) {
    VI bits = (VI)(x->product * s);
    x->exponent += (bits >> MANT_BITS) - EXP_BIAS;
    x->product = (V)((bits & MANT_MASK) | ONE_BITS);
}

static int FN(nll_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, block = task->block, m = task->m;
    const ptrdiff_t ld0 = t->panels ? t->block : block + VL, tiles = (m + MR - 1) / MR;
    char *at = memory;
    REAL *w = mf_take(&at, tiles * MR * ncol * (ptrdiff_t)sizeof(REAL)); /* [tile][k][MR] */
    FN(running) *run = mf_take(&at, tiles * MR * (ptrdiff_t)sizeof(FN(running)));
    double *sums = mf_take(&at, tiles * MR * (ptrdiff_t)sizeof(double));
    REAL *top = mf_take(&at, (block + NB * VL) * (ptrdiff_t)sizeof(REAL));
    REAL *panel = mf_take(&at, ncol * ld0 * (ptrdiff_t)sizeof(REAL));
    REAL *scratch = mf_take(&at, VL * (ncol + VL) * (ptrdiff_t)sizeof(REAL));
    REAL *c = mf_take(&at, block * (ptrdiff_t)sizeof(REAL));
    VI *dead = mf_take(&at, tiles * MR * (ptrdiff_t)sizeof(VI));
    const int products = t->weight ? 1 : task->products;
    double shift_sum = 0;

    for (ptrdiff_t j = 0; j < tiles * MR; j++) {
        for (ptrdiff_t k = 0; k < ncol; k++)
            w[(j / MR * ncol + k) * MR + j % MR] = j < m ? (REAL)task->mixtures[j * ncol + k] : (REAL)1;
        run[j].product = FN(splat)((REAL)1);
        run[j].exponent = (VI){0};
        sums[j] = 0;
        dead[j] = (VI){0};
    }
    for (ptrdiff_t row = row0; row < row1; row += block) {
        ptrdiff_t rows = row1 - row < block ? row1 - row : block;
        ptrdiff_t groups = (rows + VL - 1) / VL, ld = ld0;
        const REAL *p = FN(block)(t, row, row1, groups, panel, &ld, top, scratch);
        shift_sum += FN(block_shift)(t, top, row, rows);
        if (t->weight)
            for (ptrdiff_t i = 0; i < groups * VL; i += VL) FN(storeu)(c + i, FN(row_weights)(t, row + i, row1));
        for (ptrdiff_t tile = 0; tile < tiles; tile++) {
            const REAL *wt = w + tile * ncol * MR;
            for (ptrdiff_t g = 0; g < groups; g += NB) {
                V acc[MR][NB] = {{{0}}};
                const REAL *pg = p + g * VL;
                const ptrdiff_t present = groups - g < NB ? groups - g : NB;
                if (present == NB) {
                    for (ptrdiff_t k = 0; k < ncol; k++) {
                        V x[NB];
                        MF_PRAGMA(GCC unroll 4)
                        for (int b = 0; b < NB; b++) x[b] = FN(loadu)(pg + k * ld + b * VL);
                        MF_PRAGMA(GCC unroll 6)
                        for (int j = 0; j < MR; j++) {
                            V wj = FN(splat)(wt[k * MR + j]);
                            MF_PRAGMA(GCC unroll 4)
                            for (int b = 0; b < NB; b++) acc[j][b] += x[b] * wj;
                        }
                    }
                } else {
                    for (int b = 0; b < NB; b++)
                        for (int j = 0; j < MR; j++) {
                            V sum = {0};
                            if (b < present)
                                for (ptrdiff_t k = 0; k < ncol; k++)
                                    sum += FN(loadu)(pg + k * ld + b * VL) * wt[k * MR + j];
                            acc[j][b] = sum;
                        }
                }
                if (present < NB || row + (g + NB) * VL > row1) /* rows past the end count as log 1 */
                    for (int b = 0; b < NB; b++)
                        for (ptrdiff_t i = 0; i < VL; i++)
                            if (b >= present || row + (g + b) * VL + i >= row1)
                                for (int j = 0; j < MR; j++) acc[j][b][i] = (REAL)1;
                for (int j = 0; j < MR; j++) {
                    ptrdiff_t id = tile * MR + j;
                    if (t->weight) {
                        V sum = {0};
                        double wide = 0;
                        for (int b = 0; b < present; b++) {
                            V cb = FN(loadu)(c + (g + b) * VL);
                            acc[j][b] = FN(select)(cb == (REAL)0, FN(splat)((REAL)1), acc[j][b]);
                            dead[id] |= acc[j][b] < TINY;
#if WIDE
                            V y = FN(log)(acc[j][b]) * cb;
                            sum += y;
#else
                            sum += FN(logf)(acc[j][b]) * cb;
#endif
                        }
                        wide = FN(hsum)(sum);
                        sums[id] += wide;
                    } else if (products >= NB) {
                        V s = acc[j][0] * acc[j][1];
#if NB == 4
                        s *= acc[j][2] * acc[j][3];
#endif
                        dead[id] |= s < TINY;
                        FN(absorb)(&run[id], s);
                    } else if (products >= 2) {
                        for (int b = 0; b < NB; b += 2) {
                            V s = acc[j][b] * acc[j][b + 1];
                            dead[id] |= s < TINY;
                            FN(absorb)(&run[id], s);
                        }
                    } else {
                        for (int b = 0; b < NB; b++) {
                            dead[id] |= acc[j][b] < TINY;
                            FN(absorb)(&run[id], acc[j][b]);
                        }
                    }
                }
            }
        }
    }
    for (ptrdiff_t j = 0; j < m; j++) {
        double sum = sums[j];
        int none = 0;
        for (ptrdiff_t i = 0; i < VL; i++) {
            if (!t->weight) sum += log((double)run[j].product[i]) + (double)run[j].exponent[i] * 0.6931471805599453;
            none |= dead[j][i] != 0;
        }
        out[j] = none ? (double)INFINITY : -(sum + shift_sum) * t->scale;
    }
    return 0;
}

static size_t FN(nll_memory)(const mf_task *task) {
    const ptrdiff_t ncol = task->rows->ncol, block = task->block, many = task->m + MR;
    size_t bytes = (size_t)many * ((size_t)ncol * sizeof(REAL) + sizeof(FN(running)) + sizeof(double) + sizeof(VI));
    bytes += (size_t)(2 * block + (NB + 1) * VL) * sizeof(REAL);
    return bytes +
           (size_t)(ncol * ((task->rows->panels ? task->rows->block : block) + VL) + VL * (ncol + VL)) * sizeof(REAL) +
           10 * 64;
}

/* ---- gradients of many re-weighted objectives --------------------------------------------------------- */

/* How the bins of VL rows lie: all over, one and the same, or one after the other. */
static int FN(bin_kind)(const int32_t *bin, ptrdiff_t rows) {
    int same = 1, next = 1;
    if (rows < VL) return MF_BINS_SCATTERED;
    for (ptrdiff_t i = 1; i < VL; i++) {
        same &= bin[i] == bin[0];
        next &= bin[i] == bin[0] + i;
    }
    return same ? MF_BINS_ONE : next ? MF_BINS_NEXT : MF_BINS_SCATTERED;
}

/* How often one objective counts each of VL rows; `rows` of them are there. */
static inline __attribute__((always_inline)) V FN(multiplicity)(const float *mult, const int32_t *bin, int kind,
                                                                ptrdiff_t rows) {
    if (kind == MF_BINS_ONE) return FN(splat)((REAL)mult[bin[0]]);
    if (kind == MF_BINS_NEXT) {
#if WIDE
        typedef float HU __attribute__((vector_size(VBYTES / 2), aligned(4), may_alias));
        return __builtin_convertvector((VH) * (const HU *)(mult + bin[0]), VD);
#else
        return FN(loadu)(mult + bin[0]);
#endif
    }
    V x = {0};
    for (ptrdiff_t i = 0; i < VL && i < rows; i++) x[i] = (REAL)mult[bin[i]];
    return x;
}

/* s[y][x] = p . w for VL rows each of `ng` neighbouring groups x and `nj` mixtures y. */
static inline __attribute__((always_inline)) void
FN(many_products)(const REAL *p, ptrdiff_t ld, const REAL *w, ptrdiff_t ncol, V (*s)[2], const int nj, const int ng) {
    MF_PRAGMA(GCC unroll 4)
    for (int y = 0; y < nj; y++) s[y][0] = s[y][1] = (V){0};
    for (ptrdiff_t k = 0; k < ncol; k++) {
        V a = FN(loadu)(p + k * ld), b = ng > 1 ? FN(loadu)(p + k * ld + VL) : (V){0};
        MF_PRAGMA(GCC unroll 4)
        for (int y = 0; y < nj; y++) {
            s[y][0] += a * w[y * ncol + k];
            if (ng > 1) s[y][1] += b * w[y * ncol + k];
        }
    }
}

/* out[y * ncol + x] -= scale * sum p_x r_y over the groups, for `nk` domains x and `nj` objectives y. */
static inline __attribute__((always_inline)) void FN(many_sums)(const REAL *p, ptrdiff_t ld, const REAL *r,
                                                                ptrdiff_t block, ptrdiff_t groups, double *out,
                                                                ptrdiff_t ncol, double scale, const int nk,
                                                                const int nj) {
    V acc[4][4] = {{{0}}};
    for (ptrdiff_t g = 0; g < groups; g++) {
        V a[4], b[4];
        MF_PRAGMA(GCC unroll 4)
        for (int x = 0; x < nk; x++) a[x] = FN(loadu)(p + x * ld + g * VL);
        MF_PRAGMA(GCC unroll 4)
        for (int y = 0; y < nj; y++) b[y] = FN(loadu)(r + y * block + g * VL);
        MF_PRAGMA(GCC unroll 4)
        for (int x = 0; x < nk; x++) {
            MF_PRAGMA(GCC unroll 4)
            for (int y = 0; y < nj; y++) acc[x][y] += a[x] * b[y];
        }
    }
    for (int x = 0; x < nk; x++)
        for (int y = 0; y < nj; y++) out[y * ncol + x] -= FN(hsum)(acc[x][y]) * scale;
}

/* r[y * block + i] = what row i of objective j0 + y counts, over p_i . w, for `nj` objectives. */
static inline __attribute__((always_inline)) void FN(many_ratios)(const mf_task *task, ptrdiff_t row, ptrdiff_t row1,
                                                                  const REAL *p, ptrdiff_t ld, const REAL *w,
                                                                  ptrdiff_t groups, const int *kind, ptrdiff_t j0,
                                                                  REAL *r, const int nj) {
    const mf_rows *t = task->rows;
    for (ptrdiff_t g = 0; g < groups; g += 2) {
        V s[4][2];
        const int ng = g + 1 < groups ? 2 : 1;
        if (ng > 1)
            FN(many_products)(p + g * VL, ld, w, t->ncol, s, nj, 2);
        else
            FN(many_products)(p + g * VL, ld, w, t->ncol, s, nj, 1);
        for (int x = 0; x < ng; x++) {
            const ptrdiff_t at = row + (g + x) * VL;
            const V c = FN(row_weights)(t, at, row1);
            MF_PRAGMA(GCC unroll 4)
            for (int y = 0; y < nj; y++) {
                V weight = c;
                if (kind)
                    weight *=
                        FN(multiplicity)(task->mult + (j0 + y) * task->bins, task->bin + at, kind[g + x], row1 - at);
                /* A row that does not count may have no mass. */
                FN(storeu)(r + y * task->block + (g + x) * VL, FN(select)(weight > (REAL)0, weight / s[y][x], (V){0}));
            }
        }
    }
}

/* Rows with the same bin, next to one another, that are summed before they are counted: runs at a time. */
#define RUNS 64

/* Gradients of all objectives at the one mixture whose ratios are r: the rows of each run are summed only once. */
static void FN(shared_block)(const mf_task *task, ptrdiff_t row, ptrdiff_t rows, const REAL *p, ptrdiff_t ld,
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

static int FN(many_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, block = task->block, m = task->m;
    const ptrdiff_t ld0 = t->panels ? t->block : block + VL, points = task->shared ? 1 : m;
    const ptrdiff_t padded = (ncol + DL - 1) / DL * DL;
    char *at = memory;
    REAL *w = mf_take(&at, points * ncol * (ptrdiff_t)sizeof(REAL));
    REAL *r = mf_take(&at, 4 * block * (ptrdiff_t)sizeof(REAL));
    REAL *top = mf_take(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *panel = mf_take(&at, ncol * ld0 * (ptrdiff_t)sizeof(REAL));
    REAL *scratch = mf_take(&at, VL * (ncol + VL) * (ptrdiff_t)sizeof(REAL));
    double *sums = mf_take(&at, RUNS * padded * (ptrdiff_t)sizeof(double));
    int *kind = mf_take(&at, block * (ptrdiff_t)sizeof(int));
    for (ptrdiff_t i = 0; i < points * ncol; i++) w[i] = (REAL)task->mixtures[i];
    memset(out, 0, (size_t)(m * ncol) * sizeof(double));
    memset(sums, 0, (size_t)(RUNS * padded) * sizeof(double));

    for (ptrdiff_t row = row0; row < row1; row += block) {
        const ptrdiff_t rows = row1 - row < block ? row1 - row : block;
        const ptrdiff_t groups = (rows + VL - 1) / VL;
        ptrdiff_t ld = ld0;
        const REAL *p = FN(block)(t, row, row1, groups, panel, &ld, top, scratch);
        if (task->shared) {
            FN(many_ratios)(task, row, row1, p, ld, w, groups, NULL, 0, r, 1);
            FN(shared_block)(task, row, rows, p, ld, r, sums, out);
            continue;
        }
        if (task->mult)
            for (ptrdiff_t g = 0; g < groups; g++)
                kind[g] = FN(bin_kind)(task->bin + row + g * VL, row1 - row - g * VL);
        for (ptrdiff_t j = 0; j < m;) {
            const int nj = m - j < 4 ? 1 : 4;
            if (nj == 4)
                FN(many_ratios)(task, row, row1, p, ld, w + j * ncol, groups, task->mult ? kind : NULL, j, r, 4);
            else
                FN(many_ratios)(task, row, row1, p, ld, w + j * ncol, groups, task->mult ? kind : NULL, j, r, 1);
            for (ptrdiff_t k = 0; k < ncol;) {
                const int nk = ncol - k < 4 ? 1 : 4;
                const REAL *pk = p + k * ld;
                double *o = out + j * ncol + k;
                if (nj == 4 && nk == 4)
                    FN(many_sums)(pk, ld, r, block, groups, o, ncol, t->scale, 4, 4);
                else if (nj == 4)
                    FN(many_sums)(pk, ld, r, block, groups, o, ncol, t->scale, 1, 4);
                else if (nk == 4)
                    FN(many_sums)(pk, ld, r, block, groups, o, ncol, t->scale, 4, 1);
                else
                    FN(many_sums)(pk, ld, r, block, groups, o, ncol, t->scale, 1, 1);
                k += nk;
            }
            j += nj;
        }
    }
    return 0;
}

static size_t FN(many_memory)(const mf_task *task) {
    const ptrdiff_t ncol = task->rows->ncol, block = task->block;
    size_t bytes = (size_t)((task->shared ? 1 : task->m) * ncol + 5 * block) * sizeof(REAL);
    bytes += (size_t)(RUNS * (ncol + DL)) * sizeof(double) + (size_t)block * sizeof(int);
    return bytes +
           (size_t)(ncol * ((task->rows->panels ? task->rows->block : block) + VL) + VL * (ncol + VL)) * sizeof(REAL) +
           10 * 64;
}
