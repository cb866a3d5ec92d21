#include "factor.h"

#include <math.h>
#include <string.h>

#include "../shared/interrupt.h"
#include "../shared/isa.h"
#include "../shared/simd.h"

/* Rows that are handled together: STEP of them by substitution, BLOCK of them before the rest of the matrix is updated.
 * BLOCK rows of COLUMNS columns fit in the second level of cache. */
enum { STEP = 8, BLOCK = 64, COLUMNS = 256 };

#define JOIN_(name, isa) name##_##isa
#define JOIN(name, isa) JOIN_(name, isa)

#if MF_X86
MF_TARGET_BEGIN_V4
#define VBYTES 64
#define FN(name) JOIN(name, v4)
#include "tiles_impl.h"
MF_TARGET_END

MF_TARGET_BEGIN_V3
#define VBYTES 32
#define FN(name) JOIN(name, v3)
#include "tiles_impl.h"
MF_TARGET_END
#endif

#define VBYTES 16
#define FN(name) JOIN(name, v1)
#include "tiles_impl.h"

void mf_accumulate(const mf_product *product, ptrdiff_t first, ptrdiff_t last, ptrdiff_t top, ptrdiff_t bottom,
                   ptrdiff_t left, ptrdiff_t right, double sign) {
#if MF_X86
    if (mf_isa() >= MF_AVX512) {
        accumulate_v4(product, first, last, top, bottom, left, right, sign);
        return;
    }
    if (mf_isa() >= MF_AVX2) {
        accumulate_v3(product, first, last, top, bottom, left, right, sign);
        return;
    }
#endif
    accumulate_v1(product, first, last, top, bottom, left, right, sign);
}

static void substitute(const double *u, double *c, ptrdiff_t stride, ptrdiff_t left, ptrdiff_t right) {
#if MF_X86
    if (mf_isa() >= MF_AVX512) {
        substitute_v4(u, c, stride, left, right);
        return;
    }
    if (mf_isa() >= MF_AVX2) {
        substitute_v3(u, c, stride, left, right);
        return;
    }
#endif
    substitute_v1(u, c, stride, left, right);
}

static ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

ptrdiff_t mf_whole(ptrdiff_t size) { return (size + MF_WIDE - 1) / MF_WIDE * MF_WIDE; }

ptrdiff_t mf_stride(ptrdiff_t size) { return size % 64 ? size : size + 8; }

/* The factor of STEP rows on the diagonal, in place. */
static int factor_step(double *a, ptrdiff_t stride) {
    for (int r = 0; r < STEP; r++) {
        double pivot = a[r * stride + r];
        if (!(pivot > 0.0)) return 0;
        pivot = sqrt(pivot);
        for (int j = r; j < STEP; j++) a[r * stride + j] /= pivot;
        for (int q = r + 1; q < STEP; q++)
            for (int j = q; j < STEP; j++) a[q * stride + j] -= a[r * stride + q] * a[r * stride + j];
    }
    return 1;
}

int mf_factor(ptrdiff_t size, double *a) {
    ptrdiff_t stride = mf_stride(size);
    mf_product own = {a, a, a, stride, stride, stride, 1};
    for (ptrdiff_t block = 0; block < size; block += BLOCK) {
        ptrdiff_t end = least(block + BLOCK, size);
        for (ptrdiff_t s = block; s < end; s += STEP) {
            double *rows = a + s * stride;
            if (mf_stopped() || !factor_step(rows + s, stride)) return 0;
            substitute(rows + s, rows, stride, s + STEP, size);
            mf_accumulate(&own, s, s + STEP, s + STEP, end, 0, size, -1.0);
        }
        mf_accumulate(&own, block, end, end, size, 0, size, -1.0);
    }
    return 1;
}

void mf_invert_factor(ptrdiff_t size, const double *u, double *w) {
    ptrdiff_t stride = mf_stride(size);
    mf_product product = {u, w, w, stride, stride, stride, 0};
    memset(w, 0, (size_t)(size * stride) * sizeof *w);
    for (ptrdiff_t i = 0; i < size; i++) w[i * stride + i] = 1.0;
    for (ptrdiff_t block = 0; block < size; block += BLOCK) {
        ptrdiff_t end = least(block + BLOCK, size);
        for (ptrdiff_t s = block; s < end; s += STEP) {
            substitute(u + s * stride + s, w + s * stride, stride, 0, s + STEP);
            mf_accumulate(&product, s, s + STEP, s + STEP, end, 0, mf_whole(s + STEP), -1.0);
        }
        mf_accumulate(&product, block, end, end, size, 0, end, -1.0);
    }
}

void mf_multiply_inverse(ptrdiff_t size, const double *w, double *inverse) {
    ptrdiff_t stride = mf_stride(size);
    mf_product product = {w, w, inverse, stride, stride, stride, 1};
    for (ptrdiff_t i = 0; i < size; i++) {
        ptrdiff_t left = i / MF_WIDE * MF_WIDE;
        memset(inverse + i * stride + left, 0, (size_t)(size - left) * sizeof *inverse);
    }
    for (ptrdiff_t block = 0; block < size; block += BLOCK) {
        ptrdiff_t end = least(block + BLOCK, size);
        mf_accumulate(&product, block, end, 0, block, 0, block, 1.0);
        /* Above its diagonal w is zero. */
        for (ptrdiff_t j = block; j < end; j += MF_WIDE)
            mf_accumulate(&product, j, end, 0, j + MF_WIDE, j, j + MF_WIDE, 1.0);
    }
}
