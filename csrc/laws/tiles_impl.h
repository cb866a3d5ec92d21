/* Tiles for one instruction set. Included by factor.c several times with
 *   VBYTES         bytes of a vector register
 *   FN(name)       the suffixed name */

#define VL ((ptrdiff_t)(VBYTES / sizeof(double)))

typedef double FN(V) __attribute__((vector_size(VBYTES), aligned(sizeof(double)), may_alias));
#define V FN(V)

/* One tile of `mf_accumulate`: four rows of two vectors. */
static inline void FN(tile)(ptrdiff_t count, const double *x, ptrdiff_t x_stride, const double *y, ptrdiff_t y_stride,
                            double *c, ptrdiff_t c_stride, double sign) {
    V a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0}, b0 = {0}, b1 = {0}, b2 = {0}, b3 = {0};
    for (ptrdiff_t p = 0; p < count; p++, x += x_stride, y += y_stride) {
        V left = *(const V *)y, right = *(const V *)(y + VL);
        a0 += x[0] * left, b0 += x[0] * right;
        a1 += x[1] * left, b1 += x[1] * right;
        a2 += x[2] * left, b2 += x[2] * right;
        a3 += x[3] * left, b3 += x[3] * right;
    }
    V *row = (V *)c;
    row[0] += sign * a0, row[1] += sign * b0;
    row = (V *)(c + c_stride);
    row[0] += sign * a1, row[1] += sign * b1;
    row = (V *)(c + 2 * c_stride);
    row[0] += sign * a2, row[1] += sign * b2;
    row = (V *)(c + 3 * c_stride);
    row[0] += sign * a3, row[1] += sign * b3;
}

static void FN(accumulate)(const mf_product *t, ptrdiff_t first, ptrdiff_t last, ptrdiff_t top, ptrdiff_t bottom,
                           ptrdiff_t left, ptrdiff_t right, double sign) {
    const double *x = t->x + first * t->x_stride, *y = t->y + first * t->y_stride;
    for (ptrdiff_t from = left; from < right; from += COLUMNS) {
        const ptrdiff_t to = from + COLUMNS < right ? from + COLUMNS : right;
        if (mf_interrupted((double)((last - first) * (bottom - top) * (to - from)))) return;
        for (ptrdiff_t i = top; i < bottom && !(t->upper && i >= to); i += MF_TALL) {
            const ptrdiff_t diagonal = i / MF_WIDE * MF_WIDE;
            for (ptrdiff_t j = t->upper && diagonal > from ? diagonal : from; j < to; j += 2 * VL)
                FN(tile)(last - first, x + i, t->x_stride, y + j, t->y_stride, t->c + i * t->c_stride + j, t->c_stride,
                         sign);
        }
    }
}

/* Solve U' v = c for the columns [left, right) of STEP rows of c, in place; u holds the triangle on the diagonal. */
static void FN(substitute)(const double *u, double *c, ptrdiff_t stride, ptrdiff_t left, ptrdiff_t right) {
    double inverse[STEP];
    for (int r = 0; r < STEP; r++) inverse[r] = 1.0 / u[r * stride + r];
    for (ptrdiff_t j = left; j < right; j += VL) {
        V v[STEP];
        MF_UNROLL(8)
        for (int r = 0; r < STEP; r++) v[r] = *(V *)(c + r * stride + j);
        MF_UNROLL(8)
        for (int r = 0; r < STEP; r++) {
            v[r] *= inverse[r];
            MF_UNROLL(8)
            for (int q = r + 1; q < STEP; q++) v[q] -= u[r * stride + q] * v[r];
        }
        MF_UNROLL(8)
        for (int r = 0; r < STEP; r++) *(V *)(c + r * stride + j) = v[r];
    }
}

#undef V
#undef VL
#undef VBYTES
#undef FN
