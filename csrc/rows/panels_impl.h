/* Part of rows_impl.h: rows of a table turned into panels of probabilities, row weights, logarithms of row sums. */

/* n halves to REAL, with the values of mf_half(). The processor's own conversion keeps infinities and NaN, so they are
 * brought to +-65536: the minimum takes its second operand for NaN. */
static inline void FN(halves)(const uint16_t *restrict src, ptrdiff_t n, REAL *restrict out) {
    ptrdiff_t j = 0;
#if VBYTES == 64
    for (; j + 16 <= n; j += 16) {
        __m512 x = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(src + j)));
        x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(65536.0f)), _mm512_set1_ps(-65536.0f));
#if WIDE
        _mm512_storeu_pd(out + j, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
        _mm512_storeu_pd(out + j + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
#else
        _mm512_storeu_ps(out + j, x);
#endif
    }
#elif VBYTES == 32
    for (; j + 8 <= n; j += 8) {
        __m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + j)));
        x = _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(65536.0f)), _mm256_set1_ps(-65536.0f));
#if WIDE
        _mm256_storeu_pd(out + j, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
        _mm256_storeu_pd(out + j + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
#else
        _mm256_storeu_ps(out + j, x);
#endif
    }
#endif
    for (; j < n; j++) out[j] = (REAL)mf_half(src[j]);
}

/* Elements of one row in use, converted to REAL. The hardware prefetcher falls behind between bursts of arithmetic:
 * whole rows are prefetched 2 KB ahead, chosen columns in the row PREFETCH_ROWS further down. */
#define FROM_ROW(TYPE)                                                                      \
    const TYPE *src = (const TYPE *)t->data + row * t->stride;                              \
    const ptrdiff_t below = t->stride * PREFETCH_ROWS, line = 64 / (ptrdiff_t)sizeof(TYPE); \
    ptrdiff_t j = 0;                                                                        \
    for (; cols && j < ncol; j++) {                                                         \
        __builtin_prefetch(src + below + cols[j]);                                          \
        out[j] = (REAL)src[cols[j]];                                                        \
    }                                                                                       \
    for (; j + line <= ncol; j += line) {                                                   \
        __builtin_prefetch(src + j + 32 * line);                                            \
        for (ptrdiff_t i = 0; i < line; i++) out[j + i] = (REAL)src[j + i];                 \
    }                                                                                       \
    for (; j < ncol; j++) out[j] = (REAL)src[j];

static void FN(copy_row)(const mf_rows *t, ptrdiff_t row, REAL *restrict out) {
    ptrdiff_t ncol = t->ncol;
    const int32_t *cols = t->cols;
    if (t->dtype == MF_F32) {
        FROM_ROW(float)
    } else if (t->dtype == MF_F64) {
        FROM_ROW(double)
    } else {
        const uint16_t *src = (const uint16_t *)t->data + row * t->stride;
        if (cols)
            for (ptrdiff_t j = 0; j < ncol; j++) out[j] = (REAL)mf_half(src[cols[j]]);
        else
            FN(halves)(src, ncol, out);
    }
}
#undef FROM_ROW

/* Set pointers to VL rows of REAL; the last row is repeated past `end`. They point into the table if full-width loads
 * stay inside it (they may run past the end of a row), otherwise to converted copies in `scratch`, a multiple of VL
 * apart. */
static void FN(point_at_rows)(const mf_rows *t, const int64_t *index, ptrdiff_t row, ptrdiff_t end, const REAL **rp,
                              REAL *scratch) {
    const ptrdiff_t apart = (t->ncol + VL - 1) / VL * VL;
    const int native = t->cols == NULL && t->dtype == (WIDE ? MF_F64 : MF_F32);
    const int direct = native && !index && (row + VL) * t->stride + VL <= t->n * t->stride;
    if (t->dtype == MF_F16 && !t->cols && !index && row + VL <= end) {
        const uint16_t *src = (const uint16_t *)t->data + row * t->stride;
        const ptrdiff_t ahead = 8192 / (ptrdiff_t)sizeof *src, line = 64 / (ptrdiff_t)sizeof *src;
        for (ptrdiff_t j = 0; j < VL * t->stride; j += line) __builtin_prefetch(src + ahead + j);
        for (ptrdiff_t r = 0; r < VL; r++, src += t->stride) {
            rp[r] = scratch + r * apart;
            FN(halves)(src, t->ncol, scratch + r * apart);
        }
        return;
    }
    for (ptrdiff_t r = 0; r < VL; r++) {
        ptrdiff_t i = row + r < end ? row + r : end - 1;
        if (index) i = index[i];
        if (direct) {
            rp[r] = (const REAL *)t->data + i * t->stride;
        } else {
            REAL *copy = scratch + r * apart;
            FN(copy_row)(t, i, copy);
            rp[r] = copy;
        }
    }
}

/* VL elements of a row from column k0 on. `narrow`: the row is in float, and REAL is double. */
static inline __attribute__((always_inline)) V FN(load_row)(const void *row, ptrdiff_t k0, const int narrow) {
#if WIDE
    typedef float HU __attribute__((vector_size(VBYTES / 2), aligned(4), may_alias));
    if (narrow) return __builtin_convertvector((VH) * (const HU *)((const float *)row + k0), VD);
#else
    (void)narrow;
#endif
    return FN(loadu)((const REAL *)row + k0);
}

/* panel[k*ld ..] = exp(l - max) of VL rows, each at a pointer. Returns the row maxima that were subtracted. `own` holds
 * VL * padded elements: there the logarithms wait for the maximum, and not in the panel, whose columns are a power of
 * two apart: the processor takes a load for one of the stores before it if their addresses differ by 4 KB. */
static inline __attribute__((always_inline)) V FN(fill)(const void *const *rows, ptrdiff_t ncol, REAL *panel,
                                                        ptrdiff_t ld, REAL *own, const int shift, const int narrow) {
    const ptrdiff_t apart = (ncol + VL - 1) / VL * VL;
    V top = FN(splat)(shift ? -(REAL)INFINITY : (REAL)0);
    for (ptrdiff_t k0 = 0; k0 < ncol; k0 += VL) {
        const ptrdiff_t width = ncol - k0 < VL ? ncol - k0 : VL;
        V a[VL_CONST];
        MF_UNROLL(16)
        for (int r = 0; r < VL_CONST; r++) a[r] = FN(load_row)(rows[r], k0, narrow);
        FN(transpose)(a);
        for (ptrdiff_t j = 0; shift && j < width; j++) top = FN(maximum)(a[j], top);
        MF_UNROLL(16)
        for (int j = 0; j < VL_CONST; j++)
            if (shift)
                FN(storeu)(own + j * apart + k0, a[j]); /* where the rows of this tile were, if they were copied */
            else if (j < width)
                FN(storeu)(panel + (k0 + j) * ld, FN(exp)(a[j], 0));
    }
    for (ptrdiff_t k0 = 0; shift && k0 < ncol; k0 += VL)
        for (ptrdiff_t j = 0; j < VL && k0 + j < ncol; j++)
            FN(storeu)(panel + (k0 + j) * ld, FN(exp)(FN(loadu)(own + j * apart + k0) - top, 0));
    return top;
}

/* Probabilities of VL rows (the last one repeated past the table's end): panel[k*ld ..] = exp(l - max).
 * `scratch` holds VL * (ncol + VL) elements. Returns the row maxima that were subtracted. */
static V FN(fill_panel)(const mf_rows *t, const int64_t *index, ptrdiff_t row, ptrdiff_t end, REAL *panel, ptrdiff_t ld,
                        REAL *scratch) {
    const void *rows[VL_CONST];
#if WIDE
    if (t->dtype == MF_F32 && !t->cols && !index && row + VL <= end &&
        (row + VL) * t->stride + VL <= t->n * t->stride) {
        for (ptrdiff_t r = 0; r < VL; r++) rows[r] = (const float *)t->data + (row + r) * t->stride;
        if (t->shift) return FN(fill)(rows, t->ncol, panel, ld, scratch, 1, 1);
        return FN(fill)(rows, t->ncol, panel, ld, scratch, 0, 1);
    }
#endif
    const REAL *rp[VL_CONST];
    FN(point_at_rows)(t, index, row, end, rp, scratch);
    for (ptrdiff_t r = 0; r < VL; r++) rows[r] = rp[r];
    if (t->shift) return FN(fill)(rows, t->ncol, panel, ld, scratch, 1, 0);
    return FN(fill)(rows, t->ncol, panel, ld, scratch, 0, 0);
}

/* Inner weights c_i / scale of VL rows; 0 past `end`. */
static inline V FN(row_weights)(const mf_rows *t, ptrdiff_t row, ptrdiff_t end) {
    V c;
    if (row + VL <= end && !t->weight) return FN(splat)((REAL)1);
#if WIDE
    if (row + VL <= end) return FN(loadu)(t->weight + row) / FN(splat)(t->scale);
#endif
    for (ptrdiff_t r = 0; r < VL; r++)
        c[r] = row + r < end ? (t->weight ? (REAL)(t->weight[row + r] / t->scale) : (REAL)1) : (REAL)0;
    return c;
}

/* sum over the block's rows of c_i / scale * log(s_i). Equal weights: multiply mantissas, add exponents, and
 * take VL logarithms a block. */
static double FN(sum_of_logs)(const mf_rows *t, const REAL *s, ptrdiff_t row, ptrdiff_t end, ptrdiff_t groups) {
    double sum = 0;
    if (t->weight) {
        ptrdiff_t count = end - row < groups * VL ? end - row : groups * VL, i = 0;
        VD sums = {0};
        for (; i + DL <= count; i += DL) {
            VD x, c;
#if WIDE
            x = FN(loadu)(s + i);
            c = FN(loadu)(t->weight + row + i);
#else
            for (ptrdiff_t r = 0; r < DL; r++) {
                x[r] = (double)s[i + r];
                c[r] = t->weight[row + i + r];
            }
#endif
            sums += FN(log)(x) * c;
        }
        for (ptrdiff_t r = 0; r < DL; r++) sum += sums[r];
        for (; i < count; i++) sum += t->weight[row + i] * log((double)s[i]);
        return sum / t->scale;
    }
    V product = FN(splat)((REAL)1);
    VI exponent = {0};
    for (ptrdiff_t g = 0; g < groups; g++) {
        VI bits = (VI)FN(loadu)(s + g * VL);
        exponent += (bits >> MANT_BITS) - EXP_BIAS;
        product *= (V)((bits & MANT_MASK) | ONE_BITS);
    }
    for (ptrdiff_t r = 0; r < VL; r++) sum += log((double)product[r]) + (double)exponent[r] * 0.6931471805599453;
    return sum;
}

/* Probabilities of the block's rows, packed or computed: returns the panel, its leading dimension in *ld and, if rows
 * were shifted, their maxima in `top`. */
static const REAL *FN(panel)(const mf_rows *t, ptrdiff_t row, ptrdiff_t end, ptrdiff_t groups, REAL *panel,
                             ptrdiff_t *ld, REAL *top, REAL *scratch) {
    if (t->panels) {
        *ld = t->block;
        return (const REAL *)t->panels + row * t->ncol;
    }
    for (ptrdiff_t g = 0; g < groups; g++)
        FN(storeu)(top + g * VL, FN(fill_panel)(t, NULL, row + g * VL, end, panel + g * VL, *ld, scratch));
    return panel;
}

/* sum over the block's rows of c_i / scale * (the maximum that was subtracted from the row). */
static double FN(sum_of_shifts)(const mf_rows *t, const REAL *top, ptrdiff_t row, ptrdiff_t rows) {
    double sum = 0, sums[8] = {0}; /* eight at a time: one sum alone waits for each of its additions */
    ptrdiff_t r = 0;
    if (t->panels ? t->offset == NULL : !t->shift) return 0;
    for (; t->panels && r + 8 <= rows; r += 8)
        for (ptrdiff_t i = 0; i < 8; i++)
            sums[i] += t->offset[row + r + i] * (t->weight ? t->weight[row + r + i] / t->scale : 1.0);
    for (ptrdiff_t i = 0; i < 8; i++) sum += sums[i];
    for (; r < rows; r++)
        sum += (t->panels ? t->offset[row + r] : (double)top[r]) * (t->weight ? t->weight[row + r] / t->scale : 1.0);
    return sum;
}
