#include "matern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/exp.h"
#include "../shared/interrupt.h"
#include "../shared/simd.h"

MF_CLONES(extern, void, mf_decay,
          (ptrdiff_t n, const double *restrict gram, double norm, const double *restrict norms, double *restrict s,
           double *restrict e, double *restrict scale),
          (n, gram, norm, norms, s, e, scale)) {
    for (ptrdiff_t j = 0; j < n; j++) {
        double far = norm + norms[j] - 2.0 * gram[j];
        s[j] = sqrt(5.0 * (far > 0.0 ? far : 0.0));
        e[j] = -s[j];
    }
    mf_exp(n, e, scale);
}

MF_CLONES(extern, void, mf_covary,
          (ptrdiff_t n, const double *restrict s, const double *restrict e, const double *restrict linear,
           double amplitude, double slope, double *restrict k, double *restrict h),
          (n, s, e, linear, amplitude, slope, k, h)) {
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

MF_CLONES(static, void, correlate,
          (ptrdiff_t n, const double *restrict s, const double *restrict e, const double *restrict alpha,
           double *restrict k, double *restrict h),
          (n, s, e, alpha, k, h)) {
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
