# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Newton steps, projections and linear minima over shares with limits. The mathematics is in `simplex/`."""

from libc.stdint cimport int64_t

import numpy as np

include "shared/boundary.pxi"

cdef extern from "simplex/qp.h" nogil:
    int mf_qp(Py_ssize_t n, const double *hessian, const double *gradient, const double *w, const double *lo,
              const double *hi, signed char *state, double *step, double *level)
    Py_ssize_t mf_qp_many(Py_ssize_t m, Py_ssize_t n, const double *hessian, const int64_t *which,
                          const double *gradient, const double *w, const double *lo, const double *hi,
                          signed char *state, double *step)
    int mf_bfgs_many(Py_ssize_t m, Py_ssize_t n, double *hessian, const int64_t *which, const double *moved,
                     const double *change)

cdef extern from "simplex/projection.h" nogil:
    int MF_NO_MEMORY
    int mf_project(const double *x, const double *lo, const double *hi, Py_ssize_t n, double total, double *out)
    int mf_kl_project(const double *x, const double *lo, const double *hi, Py_ssize_t n, double total, double *out)
    int mf_linear_min(const double *g, const double *lo, const double *hi, Py_ssize_t n, double total, double *out)


def qp(const double[:, ::1] hessian not None, const double[::1] gradient not None, const double[::1] w not None,
       const double[::1] lo not None, const double[::1] hi not None, signed char[::1] state not None):
    """Return the Newton step d (K,), the multiplier of the sum and the rounds used; update `state` (int8)."""
    cdef Py_ssize_t n = gradient.shape[0]
    cdef double level = 0
    cdef int rounds
    check_aligned(<size_t>&hessian[0, 0] | <size_t>&gradient[0] | <size_t>&w[0] | <size_t>&lo[0] | <size_t>&hi[0])
    check_some(n)
    check_shape(n, n, hessian.shape[0], hessian.shape[1])
    check_shape(n, n, w.shape[0], state.shape[0])
    check_shape(n, n, lo.shape[0], hi.shape[0])
    step = np.zeros(n)
    cdef double[::1] d = step
    with nogil:
        rounds = mf_qp(n, &hessian[0, 0], &gradient[0], &w[0], &lo[0], &hi[0], &state[0], &d[0], &level)
    ended()
    if rounds == -1:
        raise MemoryError("mixfast: no memory for the quadratic step")
    return step, level, rounds


cdef int check_some(Py_ssize_t n) except -1:
    """Raise ValueError for a problem without domains."""
    if n < 1:
        raise ValueError("an argument is empty, at least one domain is required")
    return 0


cdef int check_which(const int64_t[::1] which, Py_ssize_t count) except -1:
    """Raise ValueError unless all of `which` are in [0, count)."""
    cdef Py_ssize_t j
    check_aligned(<size_t>&which[0])
    for j in range(which.shape[0]):
        if which[j] < 0 or which[j] >= count:
            raise ValueError(f"which[{j}] is {which[j]}: expected 0 to {count - 1}, the number of a Hessian")
    return 0


def qp_many(const double[:, :, ::1] hessian not None, const int64_t[::1] which not None,
            const double[:, ::1] gradient not None, const double[:, ::1] w not None, const double[:, ::1] lo not None,
            const double[:, ::1] hi not None, signed char[:, ::1] state not None):
    """Return the Newton steps (M, K) of M problems, as `qp` does; problem j has the Hessian which[j] of (H, K, K)."""
    cdef Py_ssize_t m = which.shape[0], n = gradient.shape[1], done
    check_aligned(<size_t>&hessian[0, 0, 0] | <size_t>&which[0] | <size_t>&gradient[0, 0] | <size_t>&w[0, 0] |
                  <size_t>&lo[0, 0] | <size_t>&hi[0, 0])
    check_some(n)
    check_which(which, hessian.shape[0])
    check_shape(n, n, hessian.shape[1], hessian.shape[2])
    check_shape(m, n, gradient.shape[0], n)
    check_shape(m, n, w.shape[0], w.shape[1])
    check_shape(m, n, lo.shape[0], lo.shape[1])
    check_shape(m, n, hi.shape[0], hi.shape[1])
    check_shape(m, n, state.shape[0], state.shape[1])
    step = np.zeros((m, n))
    cdef double[:, ::1] d = step
    if m == 0:
        return step
    with nogil:
        done = mf_qp_many(m, n, &hessian[0, 0, 0], &which[0], &gradient[0, 0], &w[0, 0], &lo[0, 0], &hi[0, 0],
                          &state[0, 0], &d[0, 0])
    ended()
    if done < m:
        raise MemoryError("mixfast: no memory for the quadratic step")
    return step


def bfgs_many(double[:, :, ::1] hessian not None, const int64_t[::1] which not None,
              const double[:, ::1] moved not None, const double[:, ::1] change not None):
    """Update Hessians `which` (M,) in place by damped BFGS: they then map moved (M, K) to the observed change."""
    cdef Py_ssize_t m = which.shape[0], n = moved.shape[1]
    cdef int failed
    check_aligned(<size_t>&hessian[0, 0, 0] | <size_t>&which[0] | <size_t>&moved[0, 0] | <size_t>&change[0, 0])
    check_some(n)
    check_which(which, hessian.shape[0])
    check_shape(n, n, hessian.shape[1], hessian.shape[2])
    check_shape(m, n, moved.shape[0], n)
    check_shape(m, n, change.shape[0], change.shape[1])
    if m == 0:
        return
    with nogil:
        failed = mf_bfgs_many(m, n, &hessian[0, 0, 0], &which[0], &moved[0, 0], &change[0, 0])
    ended()
    if failed:
        raise MemoryError("mixfast: no memory for the quadratic step")


ctypedef int (*on_simplex)(const double *, const double *, const double *, Py_ssize_t, double, double *) noexcept nogil


cdef object minimum(on_simplex minimise, const double[::1] x, const double[::1] lo, const double[::1] hi, double total):
    """Return the minimum (K,) over {lo <= w <= hi, sum w = total} that a C function finds for x."""
    cdef Py_ssize_t n = x.shape[0]
    cdef int failed
    check_some(n)
    check_shape(n, n, lo.shape[0], hi.shape[0])
    out = np.empty(n)
    cdef double[::1] o = out
    with nogil:
        failed = minimise(&x[0], &lo[0], &hi[0], n, total, &o[0])
    ended()
    if failed == MF_NO_MEMORY:
        raise MemoryError("mixfast: no memory for a minimum over the simplex")
    if failed:
        finite = np.isfinite(x).all()
        raise ValueError("the capped simplex is empty" if finite else "a gradient or a point is not finite")
    return out


def project(const double[::1] x not None, const double[::1] lo not None, const double[::1] hi not None,
            double total=1.0):
    """Return the Euclidean projection of x on {lo <= w <= hi, sum w = total}."""
    check_aligned(<size_t>&x[0] | <size_t>&lo[0] | <size_t>&hi[0])
    return minimum(mf_project, x, lo, hi, total)


def kl_project(const double[::1] x not None, const double[::1] lo not None, const double[::1] hi not None,
               double total=1.0):
    """Return the point of {lo <= w <= hi, sum w = total} with the smallest KL divergence from x >= 0."""
    check_aligned(<size_t>&x[0] | <size_t>&lo[0] | <size_t>&hi[0])
    return minimum(mf_kl_project, x, lo, hi, total)


def linear_min(const double[::1] g not None, const double[::1] lo not None, const double[::1] hi not None,
               double total=1.0):
    """Return a vertex of {lo <= w <= hi, sum w = total} that minimises g.w; ties go to the lowest index."""
    check_aligned(<size_t>&g[0] | <size_t>&lo[0] | <size_t>&hi[0])
    return minimum(mf_linear_min, g, lo, hi, total)
