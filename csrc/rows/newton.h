/* Newton's method over caps and floors for packed rows in float64: the loop of mixfast/_engine/optimise/newton.py
 * without what only other objectives need (groups of domains, KL terms, wear, float32 panels), in one call. There, a
 * step of a table that fits into the cache takes less time than the calls between its parts.
 *
 * Both loops have the same steps in the same order. `mf_rules` are the tolerances, which the boundary reads from
 * newton.py; the choice of the rows of a Hessian and the factors of a shorter step are written in both.
 * tests/engine/test_newton.py compares the loops step by step. */
#ifndef MIXFAST_NEWTON_H
#define MIXFAST_NEWTON_H

#include <stddef.h>

#include "rows.h"

/* The constants of newton.py, expectation.py and limits.py. */
typedef struct {
    double rough, keep, overshot;    /* gap that is far from the optimum; share that a guarded step keeps; slope that
                                        a step reaches if it must be guarded */
    double far, soon, near, rounded; /* gaps that decide what a sweep computes */
    double many, level;              /* domains with dear Hessians; slopes that are zero */
    double rounding;                 /* distance from a bound that is none */
    double rise, coarse_rise;        /* relative rises of a value that count */
    double trials, accepted;         /* lengths tried in a step; slope at which one is accepted */
    double shorter, stalled;         /* parts of a gap that a short step leaves, and a stalled search */
    double rescues, idle, early;     /* new starts with all rows; steps without progress; steps before it is checked */
    double falls, advances;          /* smallest progress of a value, and of a gap */
    double steps, least, held;       /* expectation maximisation: steps, smallest share, part of the old point */
    double quick, most_steps; /* part of the gap that a quick step leaves, and the most steps while they are quick */
} mf_rules;

/* A line of the trace. */
typedef struct {
    double value, gap, seconds;
} mf_line;

typedef struct {
    double value, gap;
    int has_hessian;
    ptrdiff_t steps;       /* Newton steps */
    ptrdiff_t lines, room; /* lines of the trace, and those that memory was reserved for */
    mf_line *trace;        /* to be freed by the caller */
} mf_found;

/* The problem: packed rows in float64, limits of the shares (ncol), the sum of the row weights. */
typedef struct {
    const mf_rows *rows;
    const double *low, *high;
    double total;
    int threads;
} mf_problem;

/* The minimum from w (ncol), which receives it, with its gradient (ncol) and Hessian (ncol, ncol), to a gap of `tol`
 * with at most `most` steps; with `settle` after steps of expectation maximisation while they are quick. Returns 0, or
 * what mf_sums does; also when a signal ended it. */
int mf_newton(const mf_problem *problem, const mf_rules *rules, double tol, ptrdiff_t most, int settle, double *w,
              double *gradient, double *hessian, mf_found *found);

/* A few steps of expectation maximisation from w (ncol), which receives their end. With a `tol` of at least 0, more
 * while they are quick and the gap is larger; *done says whether it is not. Returns 0, or what mf_sums does. */
int mf_settle(const mf_problem *problem, const mf_rules *rules, double tol, double *w, int *done);

#endif
