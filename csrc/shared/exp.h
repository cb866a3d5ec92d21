/* Exponentials of many doubles. libm's exp is called once for each element, and differs from one libm to the next.
 *
 * exp(x) = 2^n exp(r). Adding 1.5 * 2^52 to x / log(2) rounds it to the integer n, which the low bits then hold; exp(r)
 * is its Taylor polynomial of degree 12 on |r| <= log(2) / 2. The relative error is below 4e-16. The passes are apart
 * so that each compiles to vector instructions without fast-math; inlined, they use those of the caller (MF_CLONES). */
#ifndef MIXFAST_EXP_H
#define MIXFAST_EXP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MF_LOG2E 1.4426950408889634074
#define MF_SHIFT 6755399441055744.0 /* 1.5 * 2^52 */
/* log(2) in two parts: the first has so few bits that n times it is exact. */
#define MF_LN2_HIGH 6.93147180369123816490e-01
#define MF_LN2_LOW 1.90821492927058770002e-10
#define MF_LOWEST_EXPONENT (-700.0)

/* Replace x[0 .. n) by exp(x): arguments of at most 700; those below -700 count as -700. `scale` is a work area. */
static inline __attribute__((always_inline)) void mf_exp(ptrdiff_t n, double *restrict x, double *restrict scale) {
    for (ptrdiff_t j = 0; j < n; j++) {
        double at = x[j] > MF_LOWEST_EXPONENT ? x[j] : MF_LOWEST_EXPONENT;
        double shifted = at * MF_LOG2E + MF_SHIFT, whole = shifted - MF_SHIFT;
        double r = (at - whole * MF_LN2_HIGH) - whole * MF_LN2_LOW;
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
        x[j] = p * r + 1.0;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        uint64_t bits;
        memcpy(&bits, &scale[j], sizeof bits);
        bits = (bits + 1023) << 52;
        memcpy(&scale[j], &bits, sizeof bits);
    }
    for (ptrdiff_t j = 0; j < n; j++) x[j] *= scale[j];
}

#endif
