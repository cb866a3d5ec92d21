/* The row kernels for one element type and one instruction set. Included by rows.c several times with
 *   REAL, INT      float/int32_t or double/int64_t
 *   WIDE           0 or 1
 *   VBYTES         bytes of a vector register
 *   FN(name)       the suffixed name
 * Convention: V holds VL elements that belong to VL consecutive rows; panel[k * ld + row] is the probability
 * of `row` under domain k. */

#include "vectors_impl.h"
#include "panels_impl.h"
#include "losses_impl.h"
#include "gradients_impl.h"
#include "sums_impl.h"
#include "table_sums_impl.h"

/* ---- packing and scanning ----------------------------------------------------------------------------- */

static void FN(pack_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t block = task->block;
    (void)out;
    for (ptrdiff_t row = row0; row < row1; row += block) {
        REAL *panel = (REAL *)task->panels + row * t->ncol;
        if (mf_interrupted((double)(8 * block * t->ncol))) return;
        /* Whole groups of the widest vectors: the kernel that reads the panel may use wider ones than this one. */
        const ptrdiff_t end = (row1 + 15) / 16 * 16;
        for (ptrdiff_t i = row; i < end && i < row + block; i += VL) {
            if (task->index) mf_prefetch_rows(t, task->index, i + 32, i + 32 + VL < row1 ? i + 32 + VL : row1);
            V top = FN(fill_panel)(t, task->index, i, row1, panel + (i - row), block, memory);
            if (task->offset)
                for (ptrdiff_t r = 0; r < VL && i + r < row1; r++) task->offset[i + r] = (double)top[r];
        }
    }
}

static size_t FN(pack_memory)(const mf_task *task) {
    return (size_t)(VL * (task->rows->ncol + VL)) * sizeof(REAL) + 64;
}

#if VBYTES == 32
/* The extremes of rows of at least 16 halves, all columns. Halves are compared as integers: with the lower bits of
 * negative ones inverted, their order is that of the numbers, with NaN beyond the infinities. A row's largest element
 * is only needed if no element exceeds the smallest such one so far. */
static void FN(scan_halves)(const mf_rows *t, ptrdiff_t row0, ptrdiff_t row1, mf_extremes *facts) {
    const __m256i digits = _mm256_set1_epi16(0x7fff);
    __m256i big = _mm256_set1_epi16(INT16_MIN), small = digits, lowest = digits;
    int16_t found[3][16];
    const ptrdiff_t ncol = t->ncol, stride = t->stride, last = ncol - 16;
    const uint16_t *src = (const uint16_t *)t->data + row0 * stride;
    for (ptrdiff_t row = row0; row < row1;) {
        const ptrdiff_t end =
            row + 512 < row1 ? row + 512 : row1; /* no calls in the inner loop: they spill registers */
        if (mf_interrupted((double)(128 * ncol))) return;
        for (; row < end; row++, src += stride) {
            __m256i top = _mm256_set1_epi16(INT16_MIN);
            for (ptrdiff_t k = 0;; k = k + 16 < last ? k + 16 : last) { /* the last 16 may overlap the ones before */
                __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(src + k));
                x = _mm256_xor_si256(x, _mm256_and_si256(_mm256_srai_epi16(x, 15), digits));
                small = _mm256_min_epi16(small, x);
                top = _mm256_max_epi16(top, x);
                if (k == last) break;
            }
            big = _mm256_max_epi16(big, top);
            if (!_mm256_movemask_epi8(_mm256_cmpgt_epi16(top, lowest))) {
                int16_t one = INT16_MIN;
                memcpy(found[0], &top, sizeof top);
                for (int i = 0; i < 16; i++) one = found[0][i] > one ? found[0][i] : one;
                lowest = _mm256_set1_epi16(one);
            }
        }
    }
    memcpy(found[0], &big, sizeof big);
    memcpy(found[1], &small, sizeof small);
    memcpy(found[2], &lowest, sizeof lowest);
    for (int i = 1; i < 16; i++) {
        found[0][0] = found[0][i] > found[0][0] ? found[0][i] : found[0][0];
        found[1][0] = found[1][i] < found[1][0] ? found[1][i] : found[1][0];
    }
    double numbers[3];
    for (int i = 0; i < 3; i++) {
        const int16_t x = found[i][0];
        numbers[i] = (double)mf_half((uint16_t)(x < 0 ? x ^ 0x7fff : x));
    }
    *facts = (mf_extremes){numbers[0], numbers[1], numbers[2], 0};
}
#endif

static void FN(scan_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, whole = ncol / VL * VL;
    const V lowest = FN(splat)(-(REAL)INFINITY), highest = FN(splat)((REAL)INFINITY);
    V big = lowest, small = highest, low_top = highest;
    VI nan = {0}, present;
    REAL *scratch = memory;
#if VBYTES == 32
    if (t->dtype == MF_F16 && !t->cols && ncol >= 16) {
        FN(scan_halves)(t, row0, row1, (mf_extremes *)out);
        return;
    }
#endif
    for (ptrdiff_t i = 0; i < VL; i++) present[i] = whole + i < ncol ? -1 : 0;
    memset(scratch, 0, (size_t)(VL * (ncol + VL)) * sizeof(REAL));
    for (ptrdiff_t row = row0; row < row1; row += VL) {
        const REAL *rp[VL_CONST];
        V tops[VL_CONST];
        if ((row - row0) % 512 == 0 && mf_interrupted((double)(512 * ncol))) return;
        FN(point_at_rows)(t, NULL, row, row1, rp, scratch);
        for (int r = 0; r < VL_CONST; r++) {
            V top = lowest;
            for (ptrdiff_t k = 0; k < whole; k += VL) {
                V x = FN(loadu)(rp[r] + k);
                nan |= x != x;
                small = FN(select)(x < small, x, small);
                top = FN(maximum)(x, top);
            }
            if (whole < ncol) {
                V x = FN(loadu)(rp[r] + whole);
                nan |= (x != x) & present;
                small = FN(select)((x < small) & present, x, small);
                top = FN(maximum)(FN(select)(present, x, lowest), top);
            }
            big = FN(maximum)(top, big);
            tops[r] = top;
        }
        V top = FN(row_maxima)(tops);
        low_top = FN(select)(top < low_top, top, low_top);
    }
    mf_extremes *facts = (mf_extremes *)out;
    *facts = (mf_extremes){-INFINITY, INFINITY, INFINITY, 0};
    for (ptrdiff_t j = 0; j < VL; j++) {
        if (big[j] > facts->largest) facts->largest = (double)big[j];
        if (small[j] < facts->smallest) facts->smallest = (double)small[j];
        if (low_top[j] < facts->lowest_top) facts->lowest_top = (double)low_top[j];
        facts->has_nan |= nan[j] != 0;
    }
}

static const mf_kernels FN(kernels) = {
    .packed_sums = {FN(packed_sums_chunk), FN(packed_sums_memory)},
    .table_sums = {FN(table_sums_chunk), FN(table_sums_memory)},
    .losses = {FN(losses_chunk), FN(losses_memory)},
    .gradients = {FN(gradients_chunk), FN(gradients_memory)},
    .pack = {FN(pack_chunk), FN(pack_memory)},
    .scan = {FN(scan_chunk), FN(pack_memory)},
};

#undef V
#undef VI
#undef VU
#undef VD
#undef VH
#undef VL
#undef DL
#undef VL_CONST
#undef LOW
#undef HIGH
#undef LOW2
#undef HIGH2
#undef PER_LANE
#undef LANES
#undef PAIR0
#undef PAIR1
#undef LANE0
#undef LANE1
#undef PAIR_LEVELS
#undef SHUF
#undef MANT_BITS
#undef MANT_MASK
#undef ONE_BITS
#undef EXP_BIAS
#undef ROUND_MAGIC
#undef LN2_HI
#undef LN2_LO
#undef EXP_LOWEST
#undef TINY
#undef MR
#undef NB
#undef RUNS
