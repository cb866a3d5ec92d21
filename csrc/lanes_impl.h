/* Part of rows_impl.h: vectors of rows or domains, their arithmetic and shuffles, and rows turned into panels. */

#define VL ((ptrdiff_t)(VBYTES / sizeof(REAL)))
#define DL ((ptrdiff_t)(VBYTES / sizeof(double)))

typedef REAL FN(V) __attribute__((vector_size(VBYTES)));
typedef INT FN(VI) __attribute__((vector_size(VBYTES)));
typedef REAL FN(VU) __attribute__((vector_size(VBYTES), aligned(sizeof(REAL)), may_alias));
typedef double FN(VD) __attribute__((vector_size(VBYTES)));
typedef float FN(VH) __attribute__((vector_size(VBYTES / 2), may_alias));
#define V FN(V)
#define VI FN(VI)
#define VU FN(VU)
#define VD FN(VD)
#define VH FN(VH)

#if WIDE
#define MANT_BITS 52
#define MANT_MASK ((INT)0xfffffffffffffLL)
#define ONE_BITS ((INT)0x3ff0000000000000LL)
#define EXP_BIAS 1023
#define ROUND_MAGIC 6755399441055744.0
#define LN2_HI 6.93145751953125e-1
#define LN2_LO 1.42860682030941723212e-6
#define EXP_LOWEST (-708.0)
#define TINY 2.2250738585072014e-308
#else
#define MANT_BITS 23
#define MANT_MASK ((INT)0x7fffff)
#define ONE_BITS ((INT)0x3f800000)
#define EXP_BIAS 127
#define ROUND_MAGIC 12582912.0f
#define EXP_LOWEST (-87.0f)
#define TINY 1.17549435e-38f
#endif

static inline V FN(loadu)(const REAL *p) { return *(const VU *)p; }
static inline void FN(storeu)(REAL *p, V x) { *(VU *)p = x; }
static inline V FN(splat)(REAL x) { return x - (V){0}; }
static inline V FN(select)(VI mask, V yes, V no) { return (V)(((VI)yes & mask) | ((VI)no & ~mask)); }
static inline V FN(maximum)(V a, V b) { return FN(select)(a > b, a, b); }

/* exp for arguments up to about +88 (float) or +709 (double). With `bounded` the caller vouches for arguments
 * above EXP_LOWEST; otherwise what would underflow gives exactly 0.
 * x log2(e) = n + f with |f| <= 1/2; minimax polynomial of 2^f in float (5e-9), Taylor of exp(f ln 2) in double. */
static inline V FN(exp)(V x, const int bounded) {
    V z = x * (REAL)1.4426950408889634 + ROUND_MAGIC;
    V n = z - ROUND_MAGIC;
#if WIDE
    V r = x - n * LN2_HI;
    r = r - n * LN2_LO;
    V p = r * 1.6059043836821613e-10 + 2.08767569878681e-09;
    p = p * r + 2.505210838544172e-08;
    p = p * r + 2.755731922398589e-07;
    p = p * r + 2.7557319223985893e-06;
    p = p * r + 2.48015873015873e-05;
    p = p * r + 0.0001984126984126984;
    p = p * r + 0.001388888888888889;
    p = p * r + 0.008333333333333333;
    p = p * r + 0.041666666666666664;
    p = p * r + 0.16666666666666666;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.0;
#else
    V f = x * 1.44269502f - n; /* one rounding: fused */
    f = x * 1.92596299e-8f + f;
    V p = f * EXP2_C6 + EXP2_C5;
    p = p * f + EXP2_C4;
    p = p * f + EXP2_C3;
    p = p * f + EXP2_C2;
    p = p * f + EXP2_C1;
    p = p * f + 1.0f;
#endif
    VI scaled = (VI)p + ((VI)z << MANT_BITS);
    return (V)(bounded ? scaled : scaled & ~(VI)(x < EXP_LOWEST));
}

/* Natural log of normal positive doubles: m = x / 2^e in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m-1)/(m+1)). */
static inline VD FN(log)(VD x) {
    typedef int64_t I8 __attribute__((vector_size(VBYTES)));
    I8 bits = (I8)x;
    I8 e = (bits - 0x3fe6a09e667f3bcdLL) >> 52;
    VD m = (VD)(bits - (e << 52));
    VD t = (m - 1.0) / (m + 1.0);
    VD q = t * t;
    VD s = q * (1.0 / 21) + (1.0 / 19);
    s = s * q + 1.0 / 17;
    s = s * q + 1.0 / 15;
    s = s * q + 1.0 / 13;
    s = s * q + 1.0 / 11;
    s = s * q + 1.0 / 9;
    s = s * q + 1.0 / 7;
    s = s * q + 1.0 / 5;
    s = s * q + 1.0 / 3;
    VD log_m = 2.0 * t + 2.0 * t * (q * s);
    return log_m + __builtin_convertvector(e, VD) * 0.6931471805599453;
}

#if !WIDE
/* The same in float, for the weighted losses of many candidates; error about 1e-7, unbiased. */
static inline V FN(logf)(V x) {
    VI bits = (VI)x;
    VI e = (bits - 0x3f3504f3) >> 23;
    V m = (V)(bits - (e << 23));
    V t = (m - 1.0f) / (m + 1.0f);
    V q = t * t;
    V s = q * (1.0f / 9) + (1.0f / 7);
    s = s * q + 1.0f / 5;
    s = s * q + 1.0f / 3;
    return (2.0f * t + 2.0f * t * (q * s)) + __builtin_convertvector(e, V) * 0.69314718f;
}
#endif

/* Shares in two parts, w = high + low: rounding a share to float would move the point at which the gradient is
 * taken by more than the certificate may be off. */
static void FN(split)(const double *w, ptrdiff_t n, ptrdiff_t padded, REAL *high, REAL *low) {
    for (ptrdiff_t k = 0; k < padded; k++) {
        high[k] = k < n ? (REAL)w[k] : (REAL)0;
        low[k] = k < n ? (REAL)(w[k] - (double)high[k]) : (REAL)0;
    }
}

/* sum + p w, the low part first, so that its digits take part in the rounding instead of being lost to it. */
static inline V FN(add_product)(V sum, V p, V high, V low) {
#if WIDE
    (void)low;
    return sum + p * high;
#else
    V small = p * low;
    MF_ROUNDED(small); /* or the compiler may round p * high instead, and fuse p * low */
    return sum + (p * high + small);
#endif
}

/* Sum of the lanes, by halves. */
static inline double FN(hsum)(V x) {
    typedef REAL Q __attribute__((vector_size(16), may_alias));
#if VBYTES == 64
    typedef REAL H __attribute__((vector_size(32), may_alias));
    H half[2];
    memcpy(half, &x, sizeof x);
    H y = half[0] + half[1];
#else
    V y = x;
#endif
#if VBYTES >= 32
    Q quarter[2];
    memcpy(quarter, &y, sizeof y);
    Q z = quarter[0] + quarter[1];
#else
    Q z = y;
#endif
    double sum = 0;
    for (int i = 0; i < (int)(16 / sizeof(REAL)); i++) sum += (double)z[i];
    return sum;
}

/* acc (VL doubles) += p r, in double. Where one expert explains a row, p / s is 1 / w for row after row: in float,
 * equal terms would all be rounded the same way, and the gradient be off by far more than random rounding explains. */
static inline __attribute__((always_inline)) void FN(accumulate)(VD *acc, const REAL *p, const VD *r,
                                                                 const int broadcast) {
#if WIDE
    acc[0] += FN(loadu)(p) * r[0];
    (void)broadcast;
#else
    typedef float HU __attribute__((vector_size(VBYTES / 2), aligned(4), may_alias));
    acc[0] += __builtin_convertvector((VH) * (const HU *)p, VD) * r[0];
    acc[1] += __builtin_convertvector((VH) * (const HU *)(p + DL), VD) * r[broadcast ? 0 : 1];
#endif
}

/* c / s in double, elementwise: VL of them. */
static inline __attribute__((always_inline)) void FN(ratios)(double *out, V c, V s) {
#if WIDE
    *(VD *)out = c / s;
#else
    VH ch[2], sh[2];
    memcpy(ch, &c, sizeof c);
    memcpy(sh, &s, sizeof s);
    ((VD *)out)[0] = __builtin_convertvector(ch[0], VD) / __builtin_convertvector(sh[0], VD);
    ((VD *)out)[1] = __builtin_convertvector(ch[1], VD) / __builtin_convertvector(sh[1], VD);
#endif
}

/* Shuffles of two registers a, b, each one instruction or two. Within every 128-bit lane: PAIR0/1 take the even/odd
 * elements of a then b; LOW/HIGH interleave the lower/upper elements, LOW2/HIGH2 the lower/upper pairs. LANE0/1 take
 * the even/odd lanes of a then b. */
#define SHUF __builtin_shufflevector
#if VBYTES == 64 && !WIDE
#define PAIR0(a, b) SHUF(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30)
#define PAIR1(a, b) SHUF(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31)
#define LOW(a, b) SHUF(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH(a, b) SHUF(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW2(a, b) SHUF(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH2(a, b) SHUF(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define LANE0(a, b) SHUF(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define LANE1(a, b) SHUF(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
#define VL_CONST 16
#elif VBYTES == 64
#define PAIR0(a, b) SHUF(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define PAIR1(a, b) SHUF(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#define LOW(a, b) SHUF(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define HIGH(a, b) SHUF(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#define LANE0(a, b) SHUF(a, b, 0, 1, 4, 5, 8, 9, 12, 13)
#define LANE1(a, b) SHUF(a, b, 2, 3, 6, 7, 10, 11, 14, 15)
#define VL_CONST 8
#elif VBYTES == 32 && !WIDE
#define PAIR0(a, b) SHUF(a, b, 0, 2, 8, 10, 4, 6, 12, 14)
#define PAIR1(a, b) SHUF(a, b, 1, 3, 9, 11, 5, 7, 13, 15)
#define LOW(a, b) SHUF(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH(a, b) SHUF(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW2(a, b) SHUF(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HIGH2(a, b) SHUF(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define LANE0(a, b) SHUF(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define LANE1(a, b) SHUF(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define VL_CONST 8
#elif VBYTES == 32
#define PAIR0(a, b) SHUF(a, b, 0, 4, 2, 6)
#define PAIR1(a, b) SHUF(a, b, 1, 5, 3, 7)
#define LOW(a, b) SHUF(a, b, 0, 4, 2, 6)
#define HIGH(a, b) SHUF(a, b, 1, 5, 3, 7)
#define LANE0(a, b) SHUF(a, b, 0, 1, 4, 5)
#define LANE1(a, b) SHUF(a, b, 2, 3, 6, 7)
#define VL_CONST 4
#elif !WIDE
#define PAIR0(a, b) SHUF(a, b, 0, 2, 4, 6)
#define PAIR1(a, b) SHUF(a, b, 1, 3, 5, 7)
#define LOW(a, b) SHUF(a, b, 0, 4, 1, 5)
#define HIGH(a, b) SHUF(a, b, 2, 6, 3, 7)
#define LOW2(a, b) SHUF(a, b, 0, 1, 4, 5)
#define HIGH2(a, b) SHUF(a, b, 2, 3, 6, 7)
#define LANE0 PAIR0
#define LANE1 PAIR1
#define VL_CONST 4
#else
#define PAIR0(a, b) SHUF(a, b, 0, 2)
#define PAIR1(a, b) SHUF(a, b, 1, 3)
#define LOW(a, b) SHUF(a, b, 0, 2)
#define HIGH(a, b) SHUF(a, b, 1, 3)
#define LANE0 PAIR0
#define LANE1 PAIR1
#define VL_CONST 2
#endif
#define PER_LANE (WIDE ? 2 : 4)
#define LANES (VBYTES / 16)
#define PAIR_LEVELS (WIDE ? 1 : 2) /* halvings until a lane holds one element of each row */

/* Transpose VL x VL elements: first PER_LANE x PER_LANE squares within the lanes, then the lanes. */
static inline __attribute__((always_inline)) void FN(transpose)(V *a) {
    V u[VL_CONST]; /* u[i * PER_LANE + c], lane l: rows i * PER_LANE .. of column l * PER_LANE + c */
    MF_PRAGMA(GCC unroll 4)
    for (int i = 0; i < VL_CONST; i += PER_LANE) {
#if WIDE
        u[i] = LOW(a[i], a[i + 1]);
        u[i + 1] = HIGH(a[i], a[i + 1]);
#else
        V t0 = LOW(a[i], a[i + 1]), t1 = HIGH(a[i], a[i + 1]);
        V t2 = LOW(a[i + 2], a[i + 3]), t3 = HIGH(a[i + 2], a[i + 3]);
        u[i] = LOW2(t0, t2);
        u[i + 1] = HIGH2(t0, t2);
        u[i + 2] = LOW2(t1, t3);
        u[i + 3] = HIGH2(t1, t3);
#endif
    }
    MF_PRAGMA(GCC unroll 4)
    for (int c = 0; c < PER_LANE; c++) {
#if LANES == 4
        V x0 = LANE0(u[c], u[PER_LANE + c]), x1 = LANE1(u[c], u[PER_LANE + c]);
        V y0 = LANE0(u[2 * PER_LANE + c], u[3 * PER_LANE + c]), y1 = LANE1(u[2 * PER_LANE + c], u[3 * PER_LANE + c]);
        a[c] = LANE0(x0, y0);
        a[PER_LANE + c] = LANE0(x1, y1);
        a[2 * PER_LANE + c] = LANE1(x0, y0);
        a[3 * PER_LANE + c] = LANE1(x1, y1);
#elif LANES == 2
        a[c] = LANE0(u[c], u[PER_LANE + c]);
        a[PER_LANE + c] = LANE1(u[c], u[PER_LANE + c]);
#else
        a[c] = u[c];
#endif
    }
}

/* Element r of the result = the sum (or the largest) of the elements of a[r]. */
#define FOLD(name, join)                                                                                      \
    static inline __attribute__((always_inline)) V name(V *a) {                                               \
        int level = 0;                                                                                        \
        MF_PRAGMA(GCC unroll 4)                                                                               \
        for (int count = VL_CONST / 2; count; count /= 2, level++) {                                          \
            MF_PRAGMA(GCC unroll 8)                                                                           \
            for (int i = 0; i < count; i++) {                                                                 \
                V x = a[2 * i], y = a[2 * i + 1];                                                             \
                a[i] = level < PAIR_LEVELS ? join(PAIR0(x, y), PAIR1(x, y)) : join(LANE0(x, y), LANE1(x, y)); \
            }                                                                                                 \
        }                                                                                                     \
        return a[0];                                                                                          \
    }
#define ADD(x, y) ((x) + (y))
FOLD(FN(row_sums), ADD)
FOLD(FN(row_maxima), FN(maximum))
#undef FOLD
#undef ADD

/* One row's elements in use, converted to REAL. */
static void FN(copy_row)(const mf_rows *t, ptrdiff_t row, REAL *out) {
    ptrdiff_t ncol = t->ncol;
    const int32_t *cols = t->cols;
    if (t->dtype == MF_F32) {
        const float *src = (const float *)t->data + row * t->stride;
        if (cols)
            for (ptrdiff_t j = 0; j < ncol; j++) out[j] = (REAL)src[cols[j]];
        else
            for (ptrdiff_t j = 0; j < ncol; j++) out[j] = (REAL)src[j];
    } else if (t->dtype == MF_F64) {
        const double *src = (const double *)t->data + row * t->stride;
        if (cols)
            for (ptrdiff_t j = 0; j < ncol; j++) out[j] = (REAL)src[cols[j]];
        else
            for (ptrdiff_t j = 0; j < ncol; j++) out[j] = (REAL)src[j];
    } else {
        const uint16_t *src = (const uint16_t *)t->data + row * t->stride;
        for (ptrdiff_t j = 0; j < ncol; j++) out[j] = (REAL)mf_half(src[cols ? cols[j] : j]);
    }
}

/* Pointers to VL rows of REAL (the last one repeated past `end`): into the table itself where a full-width load
 * may run past a row's end but never past the table's, else to converted copies in `scratch`. */
static void FN(point_at_rows)(const mf_rows *t, const int64_t *index, ptrdiff_t row, ptrdiff_t end, const REAL **rp,
                              REAL *scratch) {
    const int native = t->cols == NULL && t->dtype == (WIDE ? MF_F64 : MF_F32);
    const int direct = native && !index && (row + VL) * t->stride + VL <= t->n * t->stride;
    for (ptrdiff_t r = 0; r < VL; r++) {
        ptrdiff_t i = row + r < end ? row + r : end - 1;
        if (index) i = index[i];
        if (direct) {
            rp[r] = (const REAL *)t->data + i * t->stride;
        } else {
            REAL *copy = scratch + r * (t->ncol + VL);
            FN(copy_row)(t, i, copy);
            rp[r] = copy;
        }
    }
}

/* Probabilities of VL rows (the last one repeated past the table's end): panel[k*ld ..] = exp(l - max).
 * `scratch` holds VL * (ncol + VL) elements. Returns the row maxima that were subtracted. */
static V FN(fill)(const mf_rows *t, const int64_t *index, ptrdiff_t row, ptrdiff_t end, REAL *panel, ptrdiff_t ld,
                  REAL *scratch) {
    const ptrdiff_t ncol = t->ncol;
    const REAL *rp[VL_CONST];
    FN(point_at_rows)(t, index, row, end, rp, scratch);
    V top = FN(splat)(-(REAL)INFINITY);
    const int shift = t->shift;
    for (ptrdiff_t k0 = 0; k0 < ncol; k0 += VL) {
        V a[VL_CONST];
        MF_PRAGMA(GCC unroll 16)
        for (int r = 0; r < VL_CONST; r++) a[r] = FN(loadu)(rp[r] + k0);
        FN(transpose)(a);
        ptrdiff_t width = ncol - k0 < VL ? ncol - k0 : VL;
        REAL *out = panel + k0 * ld;
        if (shift) {
            for (ptrdiff_t j = 0; j < width; j++) {
                top = FN(maximum)(a[j], top);
                FN(storeu)(out + j * ld, a[j]);
            }
        } else {
            for (ptrdiff_t j = 0; j < width; j++) {
                FN(storeu)(out + j * ld, FN(exp)(a[j], 0));
            }
        }
    }
    if (shift) {
        for (ptrdiff_t k = 0; k < ncol; k++) {
            FN(storeu)(panel + k * ld, FN(exp)(FN(loadu)(panel + k * ld) - top, 0));
        }
    } else {
        top = (V){0};
    }
    return top;
}

/* Inner weights c_i / scale of VL rows; 0 past `end`. */
static inline V FN(row_weights)(const mf_rows *t, ptrdiff_t row, ptrdiff_t end) {
    V c;
    if (row + VL <= end && !t->weight) return FN(splat)((REAL)1);
    for (ptrdiff_t r = 0; r < VL; r++)
        c[r] = row + r < end ? (t->weight ? (REAL)(t->weight[row + r] / t->scale) : (REAL)1) : (REAL)0;
    return c;
}

/* sum over the block's rows of c_i / scale * log(s_i). Equal weights: multiply mantissas, add exponents, and
 * take VL logarithms a block. */
static double FN(block_log)(const mf_rows *t, const REAL *s, ptrdiff_t row, ptrdiff_t end, ptrdiff_t groups) {
    double sum = 0;
    if (t->weight) {
        ptrdiff_t count = end - row < groups * VL ? end - row : groups * VL, i = 0;
        for (; i + DL <= count; i += DL) {
            VD x, c;
            for (ptrdiff_t r = 0; r < DL; r++) {
                x[r] = (double)s[i + r];
                c[r] = t->weight[row + i + r];
            }
            VD y = FN(log)(x) * c;
            for (ptrdiff_t r = 0; r < DL; r++) sum += y[r];
        }
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

/* Probabilities of the block's rows, packed or computed: returns the panel, its leading dimension in *ld and, where
 * rows were shifted, their maxima in `top`. */
static const REAL *FN(block)(const mf_rows *t, ptrdiff_t row, ptrdiff_t end, ptrdiff_t groups, REAL *panel,
                             ptrdiff_t *ld, REAL *top, REAL *scratch) {
    if (t->panels) {
        *ld = t->block;
        return (const REAL *)t->panels + row * t->ncol;
    }
    for (ptrdiff_t g = 0; g < groups; g++)
        FN(storeu)(top + g * VL, FN(fill)(t, NULL, row + g * VL, end, panel + g * VL, *ld, scratch));
    return panel;
}

static double FN(block_shift)(const mf_rows *t, const REAL *top, ptrdiff_t row, ptrdiff_t rows) {
    double sum = 0;
    if (t->panels ? t->offset == NULL : !t->shift) return 0;
    for (ptrdiff_t r = 0; r < rows; r++)
        sum += (t->panels ? t->offset[row + r] : (double)top[r]) * (t->weight ? t->weight[row + r] / t->scale : 1.0);
    return sum;
}
