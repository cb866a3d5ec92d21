/* The descent of the log-linear law: loss(c, b) = sum_i huber_delta(y_i - c - exp(z_i . b)) + b' quad b / 2, c >=
 * floor.
 *
 * Pure: no globals, no Python, safe to call from several threads without the GIL. */
#ifndef MIXFAST_DESCENT_H
#define MIXFAST_DESCENT_H

#include <stddef.h>

/* z (runs, width), y (runs), quad (width, width). Descends from (*c, b), both updated in place, until a step lowers
 * the loss by less than the fraction tol or `steps` steps are done. *loss is the final loss, infinite when the start
 * is outside the domain. Returns the steps taken, or -1 when memory runs out. */
int mf_descend(ptrdiff_t runs, ptrdiff_t width, const double *z, const double *y, double delta, const double *quad,
               double floor, double *c, double *b, int steps, double tol, double *loss);

#endif
