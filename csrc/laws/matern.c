/* The exponential is our own, because libm's is called once per element: exp(x) = 2^n exp(r), n found by adding 1.5 *
 * 2^52, whose low bits then hold the integer, exp(r) by its Taylor polynomial on |r| <= log(2)/2, which is right to
 * 3e-16 at degree 12. The passes over one row are apart so that each compiles to vector instructions without fast-math.
 */
#include "matern.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/interrupt.h"
#include "../shared/simd.h"

#define LOG2E 1.4426950408889634074
#define SHIFT 6755399441055744.0 /* 1.5 * 2^52 */
/* log(2) in two parts: the first has so few bits that n times it is exact. */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define LOWEST (-700.0)

MF_CLONES void mf_decay(ptrdiff_t n, const double *restrict gram, double norm, const double *restrict norms,
                        double *restrict s, double *restrict e, double *restrict scale) {
    for (ptrdiff_t j = 0; j < n; j++) {
        double far = norm + norms[j] - 2.0 * gram[j];
        s[j] = sqrt(5.0 * (far > 0.0 ? far : 0.0));
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        double x = -s[j] > LOWEST ? -s[j] : LOWEST;
        double shifted = x * LOG2E + SHIFT, whole = shifted - SHIFT;
        double r = (x - whole * LN2_HIGH) - whole * LN2_LOW;
        scale[j] = shifted;
        double p = 1.0 / 479001600.0;
        p = p * r + 1.0 / 39916800.0;
        p = p * r + 1.0 / 3628800.0;
        p = p * r + 1.0 / 362880.0;
        p = p * r + 1.0 / 40320.0;
        p = p * r + 1.0 / 5040.0;
        p = p * r + 1.0 / 720.0;
        p = p * r + 1.0 / 120.0;
        p = p * r + 1.0 / 24.0;
        p = p * r + 1.0 / 6.0;
        p = p * r + 1.0 / 2.0;
        p = p * r + 1.0;
        e[j] = p * r + 1.0;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        uint64_t bits;
        memcpy(&bits, &scale[j], sizeof bits);
        bits = (bits + 1023) << 52;
        memcpy(&scale[j], &bits, sizeof bits);
    }
    for (ptrdiff_t j = 0; j < n; j++) e[j] *= scale[j];
}

MF_CLONES void mf_covary(ptrdiff_t n, const double *restrict s, const double *restrict e, const double *restrict linear,
                         double amplitude, double slope, double *restrict k, double *restrict h) {
    for (ptrdiff_t j = 0; j < n; j++) {
        k[j] = amplitude * (1.0 + s[j] + s[j] * s[j] * (1.0 / 3.0)) * e[j] + slope * linear[j];
        h[j] = (5.0 / 3.0) * (1.0 + s[j]) * e[j];
    }
}

int mf_covariance(ptrdiff_t n, const double *gram, const double *norms, const double *linear, double amplitude,
                  double slope, double noise, double *k, double *h) {
    double *s = malloc((size_t)(3 * n) * sizeof *s);
    if (!s && n) return -1;
    for (ptrdiff_t i = 0; i < n; i++) {
        if (mf_interrupted((double)(16 * i))) break;
        mf_decay(i, gram + i * n, norms[i], norms, s, s + n, s + 2 * n);
        mf_covary(i, s, s + n, linear + i * n, amplitude, slope, k + i * n, h + i * n);
        k[i * n + i] = amplitude + slope * linear[i * n + i] + noise;
        memset(h + i * n + i, 0, (size_t)(n - i) * sizeof *h);
    }
    free(s);
    return 0;
}

MF_CLONES static void correlate(ptrdiff_t n, const double *restrict s, const double *restrict e,
                                const double *restrict alpha, double *restrict k, double *restrict h) {
    for (ptrdiff_t j = 0; j < n; j++) k[j] = (1.0 + s[j] + s[j] * s[j] * (1.0 / 3.0)) * e[j];
    if (h)
        for (ptrdiff_t j = 0; j < n; j++) h[j] = alpha[j] * (5.0 / 3.0) * (1.0 + s[j]) * e[j];
}

int mf_matern(ptrdiff_t m, ptrdiff_t n, const double *gram, const double *rows, const double *columns,
              const double *alpha, double *k, double *h) {
    double *s = malloc((size_t)(3 * n) * sizeof *s);
    if (!s && n) return -1;
    for (ptrdiff_t i = 0; i < m; i++) {
        if (mf_interrupted((double)(16 * n))) break;
        mf_decay(n, gram + i * n, rows[i], columns, s, s + n, s + 2 * n);
        correlate(n, s, s + n, alpha, k + i * n, h ? h + i * n : NULL);
    }
    free(s);
    return 0;
}
