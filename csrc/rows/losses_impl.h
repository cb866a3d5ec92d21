/* Part of rows_impl.h: losses of many candidate mixtures.
 *
 * Logarithms cost more than the product of panels and mixtures. Without row weights, probabilities are multiplied and
 * their exponents added as integers, so that one logarithm serves a whole chunk of rows. */

/* Candidates of a tile, and vectors of rows of a step. Their MR * NB sums must fit the registers. */
#define MR 6
#if VBYTES == 64
#define NB 4
#else
#define NB 2
#endif

/* A product of many numbers, product * 2^exponent, with product in [1, 2). */
typedef struct {
    V product;
    VI exponent;
} FN(scaled);

static inline void FN(multiply)(FN(scaled) * x, V s) {
    VI bits = (VI)(x->product * s);
    x->exponent += (bits >> MANT_BITS) - EXP_BIAS;
    x->product = (V)((bits & MANT_MASK) | ONE_BITS);
}

/* Sums of products of NB vectors of rows with MR candidates. The sums have an array of their own, which only
 * unrolled loops index: clang keeps any other array in memory and stores it at each step. */
static inline __attribute__((always_inline)) void FN(multiply_tile)(ptrdiff_t ncol, const REAL *p, ptrdiff_t ld,
                                                                    const REAL *w, V (*out)[NB]) {
    V acc[MR][NB] = {{{0}}};
    for (ptrdiff_t k = 0; k < ncol; k++) {
        V x[NB];
        MF_UNROLL(4)
        for (int b = 0; b < NB; b++) x[b] = FN(loadu)(p + k * ld + b * VL);
        MF_UNROLL(6)
        for (int j = 0; j < MR; j++) {
            V wj = FN(splat)(w[k * MR + j]);
            MF_UNROLL(4)
            for (int b = 0; b < NB; b++) acc[j][b] += x[b] * wj;
        }
    }
    MF_UNROLL(6)
    for (int j = 0; j < MR; j++) {
        MF_UNROLL(4)
        for (int b = 0; b < NB; b++) out[j][b] = acc[j][b];
    }
}

static void FN(losses_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, block = task->block, m = task->m;
    const ptrdiff_t ld0 = t->panels ? t->block : block + VL, tiles = (m + MR - 1) / MR;
    char *at = memory;
    REAL *w = mf_reserve(&at, tiles * MR * ncol * (ptrdiff_t)sizeof(REAL)); /* [tile][k][MR] */
    FN(scaled) *run = mf_reserve(&at, tiles * MR * (ptrdiff_t)sizeof(FN(scaled)));
    double *sums = mf_reserve(&at, tiles * MR * (ptrdiff_t)sizeof(double));
    REAL *top = mf_reserve(&at, (block + NB * VL) * (ptrdiff_t)sizeof(REAL));
    REAL *panel = mf_reserve(&at, ncol * ld0 * (ptrdiff_t)sizeof(REAL));
    REAL *scratch = mf_reserve(&at, VL * (ncol + VL) * (ptrdiff_t)sizeof(REAL));
    REAL *c = mf_reserve(&at, block * (ptrdiff_t)sizeof(REAL));
    VI *dead = mf_reserve(&at, tiles * MR * (ptrdiff_t)sizeof(VI));
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
        const REAL *p = FN(panel)(t, row, row1, groups, panel, &ld, top, scratch);
        shift_sum += FN(sum_of_shifts)(t, top, row, rows);
        if (t->weight)
            for (ptrdiff_t i = 0; i < groups * VL; i += VL) FN(storeu)(c + i, FN(row_weights)(t, row + i, row1));
        for (ptrdiff_t tile = 0; tile < tiles; tile++) {
            const REAL *wt = w + tile * ncol * MR;
            if (mf_interrupted((double)(rows * ncol))) return;
            for (ptrdiff_t g = 0; g < groups; g += NB) {
                V acc[MR][NB];
                const REAL *pg = p + g * VL;
                const ptrdiff_t present = groups - g < NB ? groups - g : NB;
                if (present == NB) {
                    FN(multiply_tile)(ncol, pg, ld, wt, acc);
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
                        FN(multiply)(&run[id], s);
                    } else if (products >= 2) {
                        for (int b = 0; b < NB; b += 2) {
                            V s = acc[j][b] * acc[j][b + 1];
                            dead[id] |= s < TINY;
                            FN(multiply)(&run[id], s);
                        }
                    } else {
                        for (int b = 0; b < NB; b++) {
                            dead[id] |= acc[j][b] < TINY;
                            FN(multiply)(&run[id], acc[j][b]);
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
}

static size_t FN(losses_memory)(const mf_task *task) {
    const ptrdiff_t ncol = task->rows->ncol, block = task->block, many = task->m + MR;
    size_t bytes = (size_t)many * ((size_t)ncol * sizeof(REAL) + sizeof(FN(scaled)) + sizeof(double) + sizeof(VI));
    bytes += (size_t)(2 * block + (NB + 1) * VL) * sizeof(REAL);
    return bytes +
           (size_t)(ncol * ((task->rows->panels ? task->rows->block : block) + VL) + VL * (ncol + VL)) * sizeof(REAL) +
           10 * 64;
}
