/* The row kernels for one element type and one instruction set. Included by rows.c several times with
 *   REAL, INT      float/int32_t or double/int64_t
 *   WIDE           0 or 1
 *   VBYTES         bytes of a vector register
 *   FN(name)       the suffixed name
 * Convention: V holds VL elements that belong to VL consecutive rows; panel[k * ld + row] is the probability
 * of `row` under domain k. */

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

/* ---- value, gradient, Hessian ------------------------------------------------------------------------ */

static inline __attribute__((always_inline)) void FN(tile)(const REAL *u, ptrdiff_t ld, ptrdiff_t i, ptrdiff_t j,
                                                           ptrdiff_t groups, double *hessian, ptrdiff_t ncol,
                                                           const int ni, const int nj) {
    V acc[4][4] = {{{0}}};
    for (ptrdiff_t g = 0; g < groups; g++) {
        V a[4], b[4];
        MF_PRAGMA(GCC unroll 4)
        for (int x = 0; x < ni; x++) a[x] = FN(loadu)(u + (i + x) * ld + g * VL);
        MF_PRAGMA(GCC unroll 4)
        for (int y = 0; y < nj; y++) b[y] = FN(loadu)(u + (j + y) * ld + g * VL);
        MF_PRAGMA(GCC unroll 4)
        for (int x = 0; x < ni; x++) {
            MF_PRAGMA(GCC unroll 4)
            for (int y = 0; y < nj; y++) acc[x][y] += a[x] * b[y];
        }
    }
    if (ni == 4 && nj == 4) {
        MF_PRAGMA(GCC unroll 8)
        for (int first = 0; first < 16; first += VL_CONST) {
            V part[VL_CONST]; /* a copy: taking the address of acc would keep it out of the registers */
            MF_PRAGMA(GCC unroll 16)
            for (int e = 0; e < VL_CONST; e++) part[e] = acc[(first + e) / 4][(first + e) % 4];
            V sums = FN(row_sums)(part);
            for (int e = 0; e < VL_CONST; e++)
                hessian[(i + (first + e) / 4) * ncol + j + (first + e) % 4] += (double)sums[e];
        }
        return;
    }
    for (int x = 0; x < ni; x++)
        for (int y = 0; y < nj; y++) hessian[(i + x) * ncol + j + y] += FN(hsum)(acc[x][y]);
}

/* hessian += u u' over the rows of the block: blocks on and below the diagonal. */
static void FN(syrk)(const REAL *u, ptrdiff_t ld, ptrdiff_t groups, ptrdiff_t ncol, double *hessian) {
    ptrdiff_t full = ncol / 4 * 4;
    for (ptrdiff_t i = 0; i < full; i += 4)
        for (ptrdiff_t j = 0; j <= i; j += 4) FN(tile)(u, ld, i, j, groups, hessian, ncol, 4, 4);
    for (ptrdiff_t i = full; i < ncol; i++) {
        for (ptrdiff_t j = 0; j < full; j += 4) FN(tile)(u, ld, i, j, groups, hessian, ncol, 1, 4);
        for (ptrdiff_t j = full; j <= i; j++) FN(tile)(u, ld, i, j, groups, hessian, ncol, 1, 1);
    }
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

/* Outer products for the Hessian: rows u = p sqrt(c) / s wait here, domain by domain, until there are enough of them
 * for long sums. */
typedef struct {
    REAL *u;
    ptrdiff_t room, ld, filled; /* rows there is room for, from one domain to the next, and rows that wait */
} FN(outer);

static ptrdiff_t FN(outer_rows)(ptrdiff_t ncol) {
    ptrdiff_t rows = (96 << 10) / (ptrdiff_t)sizeof(REAL) / ncol / VL * VL;
    return rows < 4 * VL ? 4 * VL : rows > 512 ? 512 : rows;
}

static void FN(empty)(FN(outer) * waiting, ptrdiff_t ncol, double *hessian) {
    FN(syrk)(waiting->u, waiting->ld, waiting->filled / VL, ncol, hessian);
    waiting->filled = 0;
}

/* sqrt(c) / s */
static inline V FN(outer_scale)(const mf_rows *t, V c, V sum) {
    if (t->weight)
        for (ptrdiff_t i = 0; i < VL; i++) c[i] = FSQRT(c[i]);
    return c / sum;
}

/* gradient += p r over the block: in float, or in double lane by lane. */
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
            MF_PRAGMA(GCC unroll 4)
            for (int j = 0; j < 4; j++) acc[j] += FN(loadu)(p + (k + j) * ld + g * VL) * r;
        }
        for (int j = 0; j < 4; j++) gacc[(k + j) * VL] += FN(hsum)(acc[j]);
    }
    for (; coarse && k < ncol; k++) {
        V acc = {0};
        for (ptrdiff_t g = 0; g < groups; g++) acc += FN(loadu)(p + k * ld + g * VL) * FN(loadu)(rough + g * VL);
        gacc[k * VL] += FN(hsum)(acc);
    }
    for (; k < ncol; k++) {
        VD acc[WIDE ? 1 : 2];
        memcpy(acc, gacc + k * VL, sizeof acc);
        for (ptrdiff_t g = 0; g < groups; g++) FN(accumulate)(acc, p + k * ld + g * VL, (const VD *)(fine + g * VL), 0);
        memcpy(gacc + k * VL, acc, sizeof acc);
    }
}

static inline __attribute__((always_inline)) int FN(pass)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1,
                                                          double *out, void *memory, const int coarse) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, block = t->block, next = ncol * block;
    char *at = memory;
    double *gacc = mf_take(&at, ncol * VL * (ptrdiff_t)sizeof(double));
    REAL *w = mf_take(&at, ncol * (ptrdiff_t)sizeof(REAL));
    REAL *w_low = mf_take(&at, ncol * (ptrdiff_t)sizeof(REAL));
    REAL *s = mf_take(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *q = mf_take(&at, block * (ptrdiff_t)sizeof(REAL));
    void *ratio = mf_take(&at, block * (ptrdiff_t)sizeof(double));
    FN(outer) waiting = {NULL, FN(outer_rows)(ncol), FN(outer_rows)(ncol) + VL, 0};
    if (task->hessian) waiting.u = mf_take(&at, ncol * waiting.ld * (ptrdiff_t)sizeof(REAL));
    double log_sum = 0;
    int dead = 0;

    FN(split)(task->mixtures, ncol, ncol, w, w_low);
    memset(gacc, 0, (size_t)(ncol * VL) * sizeof(double));
    double *gradient = out + 1, *hessian = out + 1 + ncol, *diagonal = hessian + ncol * ncol;
    const int sampled = !coarse && task->hessian > 1; /* the diagonal comes from all rows */
    if (task->hessian) memset(hessian, 0, (size_t)(ncol * ncol + ncol) * sizeof(double));

    for (ptrdiff_t row = row0; row < row1; row += block) {
        const ptrdiff_t rows = row1 - row < block ? row1 - row : block, groups = (rows + VL - 1) / VL;
        const REAL *p = (const REAL *)t->panels + row * ncol;
        VI low = {0};
        for (ptrdiff_t g = 0; g < groups; g++) {
            V sum = {0};
            for (ptrdiff_t j0 = 0; j0 < ncol; j0 += 16) { /* in two levels: a running sum of all would drift */
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
            sum = FN(select)(c == (REAL)0, FN(splat)((REAL)1), sum); /* rows that do not count: log 1 */
            FN(storeu)(s + g * VL, sum);
            low |= sum < TINY;
            if (coarse)
                FN(storeu)((REAL *)ratio + g * VL, c / sum);
            else
                FN(ratios)((double *)ratio + g * VL, c, sum);
            if (sampled) FN(storeu)(q + g * VL, FN(outer_scale)(t, c, sum));
            if (task->hessian && mf_drawn(row + g * VL, task->hessian)) {
                V x = FN(outer_scale)(t, c, sum);
                for (ptrdiff_t k = 0; k < ncol; k++)
                    FN(storeu)(waiting.u + k * waiting.ld + waiting.filled, FN(loadu)(p + k * block + g * VL) * x);
                if ((waiting.filled += VL) == waiting.room) FN(empty)(&waiting, ncol, hessian);
            }
        }
        for (ptrdiff_t i = 0; i < VL; i++) dead |= low[i] != 0;
        if (task->value) log_sum += FN(block_log)(t, s, row, row1, groups) + FN(block_shift)(t, NULL, row, rows);
        FN(add_gradient)(p, block, ratio, groups, ncol, gacc, coarse);
        for (ptrdiff_t k = 0; sampled && k < ncol; k++) {
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
        FN(empty)(&waiting, ncol, hessian);
        for (ptrdiff_t i = 0; i < ncol * ncol; i++) hessian[i] *= t->scale * (double)task->hessian;
        for (ptrdiff_t k = 0; k < ncol; k++) diagonal[k] *= t->scale;
    }
    return 0;
}

static int FN(pass_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    return task->coarse ? FN(pass)(task, row0, row1, out, memory, 1) : FN(pass)(task, row0, row1, out, memory, 0);
}

static size_t FN(outer_memory)(const mf_task *task) {
    return task->hessian ? (size_t)(task->rows->ncol * (FN(outer_rows)(task->rows->ncol) + VL)) * sizeof(REAL) : 0;
}

static size_t FN(pass_memory)(const mf_task *task) {
    const ptrdiff_t ncol = task->rows->ncol, block = task->rows->block;
    return (size_t)(ncol * VL + block) * sizeof(double) + (size_t)(2 * ncol + 2 * block) * sizeof(REAL) +
           FN(outer_memory)(task) + 9 * 64;
}

/* ---- value and gradient straight from the table ------------------------------------------------------- */

/* Rows stay row-major here: no transposition but the one that sums VL rows at once. The probabilities of a group
 * of VL rows wait in L1 between s = p.w and gradient += p c / s. */
static inline __attribute__((always_inline)) int FN(sweep)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1,
                                                           double *out, void *memory, const int shift,
                                                           const int bounded, const int coarse) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, padded = (ncol + VL - 1) / VL * VL, block = 512;
    char *at = memory;
    double *gacc = mf_take(&at, padded * (ptrdiff_t)sizeof(double));
    REAL *w = mf_take(&at, padded * (ptrdiff_t)sizeof(REAL));
    REAL *w_low = mf_take(&at, padded * (ptrdiff_t)sizeof(REAL));
    REAL *s = mf_take(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *top = mf_take(&at, block * (ptrdiff_t)sizeof(REAL));
    REAL *p = mf_take(&at, VL * padded * (ptrdiff_t)sizeof(REAL));
    REAL *scratch = mf_take(&at, VL * (ncol + VL) * (ptrdiff_t)sizeof(REAL));
    FN(outer) waiting = {NULL, FN(outer_rows)(ncol), FN(outer_rows)(ncol) + VL, 0};
    if (task->hessian) waiting.u = mf_take(&at, padded * waiting.ld * (ptrdiff_t)sizeof(REAL));
    double *hessian = out + 1 + ncol, *diagonal = hessian + ncol * ncol;
    double *dacc = mf_take(&at, padded * (ptrdiff_t)sizeof(double));
    const int sampled = !coarse && task->hessian > 1; /* the diagonal comes from all rows */
    memset(dacc, 0, (size_t)padded * sizeof(double));
    VI present; /* lanes of the last, partial tile that are domains */
    for (ptrdiff_t i = 0; i < VL; i++) present[i] = padded - VL + i < ncol ? -1 : 0;
    FN(split)(task->mixtures, ncol, padded, w, w_low);
    memset(gacc, 0, (size_t)padded * sizeof(double));
    if (task->hessian) memset(hessian, 0, (size_t)(ncol * ncol + ncol) * sizeof(double));
    memset(scratch, 0, (size_t)(VL * (ncol + VL)) * sizeof(REAL));
    /* Ask for memory about 8 KB ahead: the bursts of arithmetic outrun the hardware's own guesses. */
    const ptrdiff_t ahead = t->stride * VL >= (ptrdiff_t)(8192 / sizeof(REAL))
                                ? (ptrdiff_t)(1024 / sizeof(REAL))
                                : (ptrdiff_t)(8192 / sizeof(REAL)) / (t->stride * VL) * t->stride * VL;
    double log_sum = 0;
    int dead = 0;

    for (ptrdiff_t row = row0; row < row1; row += block) {
        ptrdiff_t rows = row1 - row < block ? row1 - row : block;
        ptrdiff_t groups = (rows + VL - 1) / VL;
        VI low = {0};
        for (ptrdiff_t g = 0; g < groups; g++) {
            const REAL *rp[VL_CONST];
            V sums[VL_CONST];
            REAL tops[VL_CONST];
            FN(point_at_rows)(t, NULL, row + g * VL, row1, rp, scratch);
            if (shift) {
                for (int r = 0; r < VL_CONST; r++) {
                    V best = FN(splat)(-(REAL)INFINITY);
                    for (ptrdiff_t k = 0; k < padded; k += VL) {
                        V x = FN(loadu)(rp[r] + k);
                        if (k == padded - VL) x = FN(select)(present, x, FN(splat)(-(REAL)INFINITY));
                        best = FN(maximum)(x, best);
                    }
                    sums[r] = best;
                }
                V best = FN(row_maxima)(sums);
                FN(storeu)(tops, best);
                FN(storeu)(top + g * VL, best);
            }
            for (int r = 0; r < VL_CONST; r++) {
                V sum = {0};
                for (ptrdiff_t k = 0; k < padded; k += VL) {
                    V x = FN(loadu)(rp[r] + k);
                    __builtin_prefetch(rp[r] + k + ahead);
                    x = shift ? FN(exp)(x - tops[r], 0) : FN(exp)(x, bounded);
                    if (k == padded - VL) x = (V)((VI)x & present);
                    FN(storeu)(p + r * padded + k, x);
                    sum = coarse ? sum + x * FN(loadu)(w + k)
                                 : FN(add_product)(sum, x, FN(loadu)(w + k), FN(loadu)(w_low + k));
                }
                sums[r] = sum;
            }
            V sum = FN(row_sums)(sums);
            const V c = FN(row_weights)(t, row + g * VL, row1);
            sum = FN(select)(c == (REAL)0, FN(splat)((REAL)1), sum); /* rows that do not count: log 1 */
            low |= sum < TINY;
            FN(storeu)(s + g * VL, sum);
            if (coarse) {
                REAL ratio[VL_CONST] __attribute__((aligned(64)));
                *(V *)ratio = c / sum;
                for (ptrdiff_t k = 0; k < padded; k += VL) {
                    V acc = {0};
                    MF_PRAGMA(GCC unroll 16)
                    for (int r = 0; r < VL_CONST; r++) acc += FN(loadu)(p + r * padded + k) * ratio[r];
                    for (ptrdiff_t i = 0; i < VL; i++) gacc[k + i] += (double)acc[i];
                }
            } else {
                double ratio[VL_CONST] __attribute__((aligned(64)));
                REAL q[VL_CONST] __attribute__((aligned(64)));
                FN(ratios)(ratio, c, sum);
                if (sampled) *(V *)q = FN(outer_scale)(t, c, sum);
                for (ptrdiff_t k = 0; k < padded; k += VL) {
                    VD acc[WIDE ? 1 : 2];
                    V squares = {0};
                    memcpy(acc, gacc + k, sizeof acc);
                    MF_PRAGMA(GCC unroll 16)
                    for (int r = 0; r < VL_CONST; r++) {
                        VD one = ratio[r] - (VD){0};
                        FN(accumulate)(acc, p + r * padded + k, &one, 1);
                        if (sampled) {
                            V x = FN(loadu)(p + r * padded + k) * q[r];
                            squares += x * x;
                        }
                    }
                    memcpy(gacc + k, acc, sizeof acc);
                    if (sampled)
                        for (ptrdiff_t i = 0; i < VL; i++) dacc[k + i] += (double)squares[i];
                }
            }
            if (task->hessian && mf_drawn(row + g * VL, task->hessian)) {
                V q = FN(outer_scale)(t, c, sum);
                for (ptrdiff_t k = 0; k < padded; k += VL) {
                    V a[VL_CONST];
                    MF_PRAGMA(GCC unroll 16)
                    for (int r = 0; r < VL_CONST; r++) a[r] = FN(loadu)(p + r * padded + k);
                    FN(transpose)(a);
                    MF_PRAGMA(GCC unroll 16)
                    for (int j = 0; j < VL_CONST; j++)
                        FN(storeu)(waiting.u + (k + j) * waiting.ld + waiting.filled, a[j] * q);
                }
                if ((waiting.filled += VL) == waiting.room) FN(empty)(&waiting, ncol, hessian);
            }
        }
        for (ptrdiff_t i = 0; i < VL; i++) dead |= low[i] != 0;
        if (task->value) log_sum += FN(block_log)(t, s, row, row1, groups) + FN(block_shift)(t, top, row, rows);
    }
    out[0] = dead ? (double)INFINITY : -log_sum * t->scale;
    for (ptrdiff_t k = 0; k < ncol; k++) out[1 + k] = -gacc[k] * t->scale;
    if (task->hessian) {
        FN(empty)(&waiting, ncol, hessian);
        for (ptrdiff_t i = 0; i < ncol * ncol; i++) hessian[i] *= t->scale * (double)task->hessian;
        for (ptrdiff_t k = 0; k < ncol; k++) diagonal[k] = dacc[k] * t->scale;
    }
    return 0;
}

static int FN(sweep_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
#define SWEEP(shift, bounded)                                                   \
    (task->coarse ? FN(sweep)(task, row0, row1, out, memory, shift, bounded, 1) \
                  : FN(sweep)(task, row0, row1, out, memory, shift, bounded, 0))
    return task->rows->shift ? SWEEP(1, 0) : task->rows->bounded ? SWEEP(0, 1) : SWEEP(0, 0);
#undef SWEEP
}

static size_t FN(sweep_memory)(const mf_task *task) {
    const ptrdiff_t ncol = task->rows->ncol, padded = ncol + VL;
    return (size_t)(2 * padded) * sizeof(double) + (size_t)((2 + VL) * padded + VL * padded + 1024) * sizeof(REAL) +
           (task->hessian ? (size_t)(padded * (FN(outer_rows)(ncol) + VL)) * sizeof(REAL) : 0) + 10 * 64;
}

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

/* ---- packing and scanning ----------------------------------------------------------------------------- */

static int FN(pack_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t block = task->block;
    (void)out;
    for (ptrdiff_t row = row0; row < row1; row += block) {
        REAL *panel = (REAL *)task->panels + row * t->ncol;
        /* Whole groups of the widest vectors there are: who reads the panel may use wider ones than who writes it. */
        const ptrdiff_t end = (row1 + 15) / 16 * 16;
        for (ptrdiff_t i = row; i < end && i < row + block; i += VL) {
            if (task->index) mf_prefetch_rows(t, task->index, i + 32, i + 32 + VL < row1 ? i + 32 + VL : row1);
            V top = FN(fill)(t, task->index, i, row1, panel + (i - row), block, memory);
            if (task->offset)
                for (ptrdiff_t r = 0; r < VL && i + r < row1; r++) task->offset[i + r] = (double)top[r];
        }
    }
    return 0;
}

static size_t FN(pack_memory)(const mf_task *task) {
    return (size_t)(VL * (task->rows->ncol + VL)) * sizeof(REAL) + 64;
}

static int FN(scan_chunk)(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory) {
    const mf_rows *t = task->rows;
    const ptrdiff_t ncol = t->ncol, whole = ncol / VL * VL;
    const V lowest = FN(splat)(-(REAL)INFINITY), highest = FN(splat)((REAL)INFINITY);
    V big = lowest, small = highest, low_top = highest;
    VI nan = {0}, present;
    REAL *scratch = memory;
    for (ptrdiff_t i = 0; i < VL; i++) present[i] = whole + i < ncol ? -1 : 0;
    memset(scratch, 0, (size_t)(VL * (ncol + VL)) * sizeof(REAL));
    for (ptrdiff_t row = row0; row < row1; row += VL) {
        const REAL *rp[VL_CONST];
        V tops[VL_CONST];
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
    mf_facts *facts = (mf_facts *)out;
    *facts = (mf_facts){-INFINITY, INFINITY, INFINITY, 0};
    for (ptrdiff_t j = 0; j < VL; j++) {
        if (big[j] > facts->largest) facts->largest = (double)big[j];
        if (small[j] < facts->smallest) facts->smallest = (double)small[j];
        if (low_top[j] < facts->lowest_top) facts->lowest_top = (double)low_top[j];
        facts->has_nan |= nan[j] != 0;
    }
    return 0;
}

static const mf_kernels FN(kernels) = {
    {FN(pass_chunk), FN(pass_memory)}, {FN(sweep_chunk), FN(sweep_memory)}, {FN(nll_chunk), FN(nll_memory)},
    {FN(many_chunk), FN(many_memory)}, {FN(pack_chunk), FN(pack_memory)},   {FN(scan_chunk), FN(pack_memory)},
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
