#include "likelihood.h"

#include <math.h>
#include <string.h>

#include "../shared/interrupt.h"
#include "../shared/simd.h"
#include "factor.h"
#include "matern.h"

enum { LANES = 8, BLOCK = 64 };

/* Matrices are padded to whole tiles, `whole` rows and `stride` columns; features to `wide` columns, the first of the
 * padding all ones. */
typedef struct {
    ptrdiff_t runs, dims, whole, stride, wide;
    double *k;        /* (whole, stride): K, its factor, its inverse */
    double *h;        /* (whole, stride): -2 dk/d(r^2), then weighed by A; zero but above the diagonal */
    double *w;        /* (whole, stride): the inverse of the factor */
    double *across;   /* (dims, whole): features, transposed */
    double *features; /* (whole, wide) */
    double *moments;  /* (whole, wide): h' features */
    double *row;      /* (5, whole): work areas of one row */
} work;

size_t mf_likelihood_memory(ptrdiff_t runs, ptrdiff_t dims) {
    ptrdiff_t whole = mf_whole(runs), wide = mf_whole(dims + 1);
    return (size_t)(whole * (3 * mf_stride(whole) + dims + 2 * wide + 5));
}

static work divide(ptrdiff_t runs, ptrdiff_t dims, double *memory) {
    work m = {.runs = runs, .dims = dims, .whole = mf_whole(runs), .wide = mf_whole(dims + 1)};
    m.stride = mf_stride(m.whole);
    m.k = memory, memory += m.whole * m.stride;
    m.h = memory, memory += m.whole * m.stride;
    m.w = memory, memory += m.whole * m.stride;
    m.across = memory, memory += dims * m.whole;
    m.features = memory, memory += m.whole * m.wide;
    m.moments = memory, memory += m.whole * m.wide;
    m.row = memory;
    return m;
}

/* Upper triangles of K and of h. */
static void covary(const work *m, const double *z, const double *linear, double amplitude, double slope, double noise) {
    ptrdiff_t n = m->runs, whole = m->whole;
    for (ptrdiff_t i = 0; i < n; i++) {
        for (ptrdiff_t d = 0; d < m->dims; d++)
            m->across[d * whole + i] = m->features[i * m->wide + d] = z[i * m->dims + d];
        m->features[i * m->wide + m->dims] = 1.0;
    }
    for (ptrdiff_t i = 0; i < whole; i++) {
        ptrdiff_t left = i / MF_WIDE * MF_WIDE;
        memset(m->k + i * m->stride + left, 0, (size_t)(whole - left) * sizeof *m->k);
    }
    mf_product gram = {m->across, m->across, m->k, whole, whole, m->stride, 1};
    mf_accumulate(&gram, 0, m->dims, 0, whole, 0, whole, 1.0);
    double *norms = m->row, *s = norms + whole, *e = s + whole, *scale = e + whole;
    for (ptrdiff_t i = 0; i < n; i++) norms[i] = m->k[i * m->stride + i];
    for (ptrdiff_t i = 0; i < n; i++) {
        ptrdiff_t next = i + 1;
        double *k = m->k + i * m->stride;
        mf_decay(n - next, k + next, norms[i], norms + next, s, e, scale);
        mf_covary(n - next, s, e, linear + i * n + next, amplitude, slope, k + next, m->h + i * m->stride + next);
        k[i] = amplitude + slope * linear[i * n + i] + noise;
    }
    for (ptrdiff_t i = n; i < whole; i++) m->k[i * m->stride + i] = 1.0;
}

/* Alpha and the mean, from the inverse w of the factor. */
MF_CLONES(static, double, weights, (const work *m, const double *target, double *restrict alpha), (m, target, alpha)) {
    ptrdiff_t n = m->runs;
    double *restrict ones = m->row, total = 0.0, of_ones = 0.0;
    memset(alpha, 0, (size_t)n * sizeof *alpha);
    memset(ones, 0, (size_t)n * sizeof *ones);
    for (ptrdiff_t i = 0; i < n; i++) {
        const double *restrict w = m->w + i * m->stride;
        double on_target[LANES] = {0.0}, on_one[LANES] = {0.0}, a = 0.0, b = 0.0;
        ptrdiff_t j = 0;
        for (; j + LANES <= i + 1; j += LANES)
            for (ptrdiff_t l = 0; l < LANES; l++) {
                on_target[l] += w[j + l] * target[j + l];
                on_one[l] += w[j + l];
            }
        for (; j <= i; j++) {
            a += w[j] * target[j];
            b += w[j];
        }
        for (ptrdiff_t l = 0; l < LANES; l++) {
            a += on_target[l];
            b += on_one[l];
        }
        for (j = 0; j <= i; j++) {
            alpha[j] += a * w[j];
            ones[j] += b * w[j];
        }
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        total += alpha[j];
        of_ones += ones[j];
    }
    double mean = total / of_ones;
    for (ptrdiff_t j = 0; j < n; j++) alpha[j] -= mean * ones[j];
    return mean;
}

/* Weigh h by A above the diagonal, with sums of its rows; return tr(A linear). */
MF_CLONES(static, double, weigh, (const work *m, const double *alpha, const double *linear, double *restrict sums),
          (m, alpha, linear, sums)) {
    ptrdiff_t n = m->runs;
    double total = 0.0;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double *restrict inverse = m->k + i * m->stride, *restrict on = linear + i * n;
        double *restrict h = m->h + i * m->stride;
        double own = alpha[i], lanes[LANES] = {0.0}, sum[LANES] = {0.0}, row = 0.0, all = 0.0;
        ptrdiff_t j = i + 1;
        for (; j + LANES <= n; j += LANES)
            for (ptrdiff_t l = 0; l < LANES; l++) {
                double a = own * alpha[j + l] - inverse[j + l];
                h[j + l] *= a;
                sum[l] += h[j + l];
                lanes[l] += a * on[j + l];
            }
        for (; j < n; j++) {
            double a = own * alpha[j] - inverse[j];
            h[j] *= a;
            all += h[j];
            row += a * on[j];
        }
        for (ptrdiff_t l = 0; l < LANES; l++) {
            all += sum[l];
            row += lanes[l];
        }
        sums[i] = all;
        total += 2.0 * row + (own * own - inverse[i]) * on[i];
    }
    return total;
}

/* amplitude * sum_{i<j} h_ij (z_i - z_j)^2 for each dimension, from sums of rows and columns of h and z' h z. */
static void lengthen(const work *m, double amplitude, const double *sums, double *on_length) {
    ptrdiff_t n = m->runs, whole = m->whole, wide = m->wide, dims = m->dims;
    mf_product product = {m->h, m->features, m->moments, m->stride, wide, wide, 0};
    memset(m->moments, 0, (size_t)(whole * wide) * sizeof *m->moments);
    for (ptrdiff_t block = 0; block < whole; block += BLOCK)
        mf_accumulate(&product, block, block + BLOCK < whole ? block + BLOCK : whole, block, whole, 0, wide, 1.0);
    memset(on_length, 0, (size_t)dims * sizeof *on_length);
    for (ptrdiff_t i = 0; i < n; i++) {
        const double *z = m->features + i * wide, *moment = m->moments + i * wide;
        double both = sums[i] + moment[dims];
        for (ptrdiff_t d = 0; d < dims; d++) on_length[d] += z[d] * (both * z[d] - 2.0 * moment[d]);
    }
    for (ptrdiff_t d = 0; d < dims; d++) on_length[d] *= amplitude;
}

int mf_likelihood(ptrdiff_t runs, ptrdiff_t dims, const double *z, const double *linear, const double *target,
                  double amplitude, double slope, double noise, double *memory, double *alpha, double *diagonal,
                  double *on_length, mf_likelihood_parts *parts) {
    work m = divide(runs, dims, memory);
    covary(&m, z, linear, amplitude, slope, noise);
    if (!mf_factor(m.whole, m.k)) return 0;
    mf_likelihood_parts found = {0};
    for (ptrdiff_t i = 0; i < runs; i++) found.half_log_det += log(m.k[i * m.stride + i]);
    mf_invert_factor(m.whole, m.k, m.w);
    mf_multiply_inverse(m.whole, m.w, m.k);
    if (mf_stopped()) return 0;
    found.mean = weights(&m, target, alpha);
    for (ptrdiff_t i = 0; i < runs; i++) {
        diagonal[i] = m.k[i * m.stride + i];
        found.fit += alpha[i] * (target[i] - found.mean);
        found.trace += alpha[i] * alpha[i] - diagonal[i];
    }
    found.linear = weigh(&m, alpha, linear, m.row);
    lengthen(&m, amplitude, m.row, on_length);
    *parts = found;
    return 1;
}
