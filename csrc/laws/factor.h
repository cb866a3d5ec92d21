/* Cholesky factors and inverses of symmetric matrices of some hundred rows, by tiles that stay in registers.
 *
 * At this size the threads of LAPACK mostly wait for one another, and SciPy calls it with the GIL held. A matrix is
 * stored by rows, `mf_stride` apart; its size is a multiple of MF_WIDE, to which callers add rows and columns of the
 * identity. Only upper triangles are read and written, and the rest of the tiles on the diagonal, which must hold
 * finite numbers. All functions may end early (see interrupt.h). */
#ifndef MIXFAST_FACTOR_H
#define MIXFAST_FACTOR_H

#include <stddef.h>

enum { MF_TALL = 4, MF_WIDE = 16 };

/* A size rounded up to whole tiles. */
ptrdiff_t mf_whole(ptrdiff_t size);

/* Distance of the rows of a matrix of this size: at a power of two a column would share few lines of the cache. */
ptrdiff_t mf_stride(ptrdiff_t size);

/* The matrices of a product c += x'y; with `upper`, only columns of c from the tile on the diagonal on. */
typedef struct {
    const double *x, *y;
    double *c;
    ptrdiff_t x_stride, y_stride, c_stride;
    int upper;
} mf_product;

/* c[i, j] += sign * sum_p x[p, i] y[p, j] for p in [first, last), rows i in [top, bottom), columns j in [left, right).
 * Rows are in fours, columns in multiples of MF_WIDE. */
void mf_accumulate(const mf_product *product, ptrdiff_t first, ptrdiff_t last, ptrdiff_t top, ptrdiff_t bottom,
                   ptrdiff_t left, ptrdiff_t right, double sign);

/* Replace the upper triangle of a (size, size) by U, where U'U = a. Returns 0 when a is not positive definite. */
int mf_factor(ptrdiff_t size, double *a);

/* Fill w with the inverse of U', a lower triangle with zeros above it. */
void mf_invert_factor(ptrdiff_t size, const double *u, double *w);

/* Fill the upper triangle of `inverse` with w'w, the inverse of U'U. */
void mf_multiply_inverse(ptrdiff_t size, const double *w, double *inverse);

#endif
