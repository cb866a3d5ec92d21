/* Part of rows_impl.h: vectors of rows or domains, their arithmetic and shuffles. */

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

/* exp for arguments up to about +88 (float) or +709 (double). With `bounded` the caller promises arguments
 * above EXP_LOWEST; otherwise arguments that would underflow give exactly 0.
 * x log2(e) = n + f with |f| <= 1/2; minimax polynomial of 2^f in float (5e-9), Taylor of exp(f ln 2) in double. */
static inline V FN(exp)(V x, const int bounded) {
    V z = x * (REAL)1.4426950408889634 + ROUND_MAGIC;
    V n = z - ROUND_MAGIC;
#if WIDE
    V r = x - n * LN2_HI;
    r = r - n * LN2_LO;
    V r2 = r * r, r4 = r2 * r2; /* pairs of terms: in Horner's rule, each of 13 products waits for the one before */
    V a = r * 0.16666666666666666 + 0.5, b = r * 0.008333333333333333 + 0.041666666666666664;
    V c = r * 0.0001984126984126984 + 0.001388888888888889, d = r * 2.7557319223985893e-06 + 2.48015873015873e-05;
    V e = r * 2.505210838544172e-08 + 2.755731922398589e-07, f = r * 1.6059043836821613e-10 + 2.08767569878681e-09;
    V p = ((f * r2 + e) * r4 + (d * r2 + c)) * r4 + (b * r2 + a);
    p = p * r2 + r + 1.0;
#else
    V y = x;
    MF_ROUNDED(y); /* otherwise clang reuses the rounded product of z instead of fusing */
    V f = y * 1.44269502f - n;
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

/* Split shares into two parts, w = high + low. Rounding a share to float would move the point of the gradient by more
 * than the certificate allows. */
static void FN(split)(const double *w, ptrdiff_t n, ptrdiff_t padded, REAL *high, REAL *low) {
    for (ptrdiff_t k = 0; k < padded; k++) {
        high[k] = k < n ? (REAL)w[k] : (REAL)0;
        low[k] = k < n ? (REAL)(w[k] - (double)high[k]) : (REAL)0;
    }
}

/* Return sum + p w. The low part is added to the product, whose digits are not rounded yet: added to a sum, it would
 * always be less than half of the last digit, and be lost. */
static inline V FN(add_product)(V sum, V p, V high, V low) {
#if WIDE
    (void)low;
    return sum + p * high;
#else
    V small = p * low;
    MF_ROUNDED(small); /* otherwise the compiler may round p * high and fuse p * low */
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

/* DL floats to doubles. GCC 12 makes four instructions of __builtin_convertvector. */
static inline VD FN(widened)(const float *p) {
#if VBYTES == 64
    return (VD)_mm512_cvtps_pd(_mm256_loadu_ps(p));
#elif VBYTES == 32
    return (VD)_mm256_cvtps_pd(_mm_loadu_ps(p));
#else
    typedef float HU __attribute__((vector_size(VBYTES / 2), aligned(4), may_alias));
    return __builtin_convertvector((VH) * (const HU *)p, VD);
#endif
}

/* acc (VL doubles) += p r, in double. If one expert explains many rows alone, p / s is 1 / w for all of them: in
 * float, these equal terms would all be rounded in the same direction, and the gradient's error would be far larger
 * than that of random rounding. */
static inline __attribute__((always_inline)) void FN(accumulate)(VD *acc, const REAL *p, const VD *r,
                                                                 const int broadcast) {
#if WIDE
    acc[0] += FN(loadu)(p) * r[0];
    (void)broadcast;
#else
    acc[0] += FN(widened)(p) * r[0];
    acc[1] += FN(widened)(p + DL) * r[broadcast ? 0 : 1];
#endif
}

/* c / s in double, elementwise: VL of them. */
static inline __attribute__((always_inline)) void FN(ratios)(double *out, V c, V s) {
#if WIDE
    *(VD *)out = c / s;
#else
    float weights[VL_CONST] __attribute__((aligned(64))), sums[VL_CONST] __attribute__((aligned(64)));
    *(V *)weights = c, *(V *)sums = s;
    ((VD *)out)[0] = FN(widened)(weights) / FN(widened)(sums);
    ((VD *)out)[1] = FN(widened)(weights + DL) / FN(widened)(sums + DL);
#endif
}

/* Transpose VL x VL elements: first PER_LANE x PER_LANE squares within the lanes, then the lanes. */
static inline __attribute__((always_inline)) void FN(transpose)(V *a) {
    V u[VL_CONST]; /* u[i * PER_LANE + c], lane l: rows i * PER_LANE .. of column l * PER_LANE + c */
    MF_UNROLL(4)
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
    MF_UNROLL(4)
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
        MF_UNROLL(4)                                                                                          \
        for (int count = VL_CONST / 2; count; count /= 2, level++) {                                          \
            MF_UNROLL(8)                                                                                      \
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
