# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Descents of the log-linear law and covariances of Gaussian processes. The mathematics is in `laws/`."""

include "shared/boundary.pxi"

cdef extern from "laws/descent.h" nogil:
    int mf_descend(Py_ssize_t runs, Py_ssize_t width, const double *z, const double *y, double delta,
                   const double *quad, double floor, double *c, double *b, int steps, double tol, double *loss)

cdef extern from "laws/matern.h" nogil:
    int mf_covariance(Py_ssize_t n, const double *gram, const double *norms, const double *linear, double amplitude,
                      double slope, double noise, double *k, double *h)
    double mf_weigh(Py_ssize_t n, const double *inverse, const double *alpha, const double *linear, double *h)
    int mf_matern(Py_ssize_t m, Py_ssize_t n, const double *gram, const double *rows, const double *columns,
                  const double *alpha, double *k, double *h)


cdef int check_memory(int failed) except -1:
    if failed == -1:
        raise MemoryError("mixfast: no memory for the fit of a law")
    return 0


def descend(const double[:, ::1] z, const double[::1] y, double delta, const double[:, ::1] quad, double floor,
            double c, double[::1] b, int steps, double tol):
    """Descend from (c, b), `b` in place; return the loss, c and the number of steps.

    The loss is ``sum_i huber_delta(y_i - c - exp(z_i . b)) + b' quad b / 2`` with ``c >= floor``.
    """
    cdef Py_ssize_t runs = z.shape[0], width = z.shape[1]
    cdef double loss = 0
    cdef int done
    check_shape(runs, width, y.shape[0], b.shape[0])
    check_shape(width, width, quad.shape[0], quad.shape[1])
    check_some(runs, width)
    with nogil:
        done = mf_descend(runs, width, &z[0, 0], &y[0], delta, &quad[0, 0], floor, &c, &b[0], steps, tol, &loss)
    ended()
    check_memory(done)
    return loss, c, done


cdef int check_some(Py_ssize_t m, Py_ssize_t n) except -1:
    """Raise ValueError for arrays without elements, which have no address."""
    if m < 1 or n < 1:
        raise ValueError(f"an argument has shape {(m, n)}, at least (1, 1) is required")
    return 0


def covariance(const double[:, ::1] gram, const double[::1] norms, const double[:, ::1] linear, double amplitude,
               double slope, double noise, double[:, ::1] k, double[:, ::1] h):
    """Lower triangles (R, R) of the covariance of runs, k, and of `-2 dk/d(r^2)` of its Matern part, h: 0 elsewhere."""
    cdef Py_ssize_t n = norms.shape[0]
    cdef int failed
    check_some(n, n)
    check_shape(n, n, gram.shape[0], gram.shape[1])
    check_shape(n, n, linear.shape[0], linear.shape[1])
    check_shape(n, n, k.shape[0], k.shape[1])
    check_shape(n, n, h.shape[0], h.shape[1])
    with nogil:
        failed = mf_covariance(n, &gram[0, 0], &norms[0], &linear[0, 0], amplitude, slope, noise, &k[0, 0], &h[0, 0])
    ended()
    check_memory(failed)


def weigh(const double[:, ::1] inverse, const double[::1] alpha, const double[:, ::1] linear, double[:, ::1] h):
    """Multiply h by `alpha alpha' - inverse`, in place; return the sum of that times `linear`. Lower triangles."""
    cdef Py_ssize_t n = alpha.shape[0]
    cdef double total
    check_some(n, n)
    check_shape(n, n, inverse.shape[0], inverse.shape[1])
    check_shape(n, n, linear.shape[0], linear.shape[1])
    check_shape(n, n, h.shape[0], h.shape[1])
    with nogil:
        total = mf_weigh(n, &inverse[0, 0], &alpha[0], &linear[0, 0], &h[0, 0])
    ended()
    return total


def matern(const double[:, ::1] gram, const double[::1] rows, const double[::1] columns, double[:, ::1] k):
    """Matern-5/2 correlations (M, R) of every row with every column, from inner products, which k may replace."""
    cdef Py_ssize_t m = rows.shape[0], n = columns.shape[0]
    cdef int failed
    check_shape(m, n, gram.shape[0], gram.shape[1])
    check_shape(m, n, k.shape[0], k.shape[1])
    if m == 0 or n == 0:
        return
    with nogil:
        failed = mf_matern(m, n, &gram[0, 0], &rows[0], &columns[0], NULL, &k[0, 0], NULL)
    ended()
    check_memory(failed)


def matern_slope(const double[:, ::1] gram, const double[::1] rows, const double[::1] columns,
                 const double[::1] alpha, double[:, ::1] k, double[:, ::1] h):
    """The correlations (M, R), and `-2 dk/d(r^2)` times alpha (R,)."""
    cdef Py_ssize_t m = rows.shape[0], n = columns.shape[0]
    cdef int failed
    check_shape(m, n, gram.shape[0], gram.shape[1])
    check_shape(m, n, k.shape[0], k.shape[1])
    check_shape(m, n, h.shape[0], h.shape[1])
    check_shape(n, n, alpha.shape[0], n)
    if m == 0 or n == 0:
        return
    with nogil:
        failed = mf_matern(m, n, &gram[0, 0], &rows[0], &columns[0], &alpha[0], &k[0, 0], &h[0, 0])
    ended()
    check_memory(failed)
