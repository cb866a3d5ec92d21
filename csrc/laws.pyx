# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Descents of the log-linear law, its exact proposal, likelihoods and covariances of Gaussian processes.

The mathematics is in `laws/`.
"""

include "shared/boundary.pxi"

cdef extern from "laws/descent.h" nogil:
    int mf_descend(Py_ssize_t runs, Py_ssize_t width, const double *z, const double *y, double delta,
                   const double *quad, double floor, double *c, double *b, int steps, double tol, double *loss)

cdef extern from "laws/dual.h" nogil:
    ctypedef struct mf_proposal:
        Py_ssize_t metrics, domains
        const double *a
        const double *log_weight
        const double *linear
        const double *log_prior
        const double *low
        const double *high
        double kl
    ctypedef struct mf_ascent:
        int least, most, halvings
        double armijo, rounding, close
    int mf_ascend(const mf_proposal *proposal, const mf_ascent *rules, double *z, double *level, double *w,
                  double *logs)

cdef extern from "laws/matern.h" nogil:
    int mf_covariance(Py_ssize_t n, const double *gram, const double *norms, const double *linear, double amplitude,
                      double slope, double noise, double *k, double *h)
    int mf_matern(Py_ssize_t m, Py_ssize_t n, const double *gram, const double *rows, const double *columns,
                  const double *alpha, double *k, double *h)


cdef extern from "laws/likelihood.h" nogil:
    ctypedef struct mf_likelihood_parts:
        double fit, half_log_det, mean, trace, linear
    size_t mf_likelihood_memory(Py_ssize_t runs, Py_ssize_t dims)
    int mf_likelihood(Py_ssize_t runs, Py_ssize_t dims, const double *z, const double *linear, const double *target,
                      double amplitude, double slope, double noise, double *memory, double *alpha, double *diagonal,
                      double *on_length, mf_likelihood_parts *parts)


cdef int check_memory(int failed) except -1:
    if failed == -1:
        raise MemoryError("mixfast: no memory for the fit of a law or its proposal")
    return 0


def descend(const double[:, ::1] z not None, const double[::1] y not None, double delta,
            const double[:, ::1] quad not None, double floor, double c, double[::1] b not None, int steps, double tol):
    """Descend from (c, b), `b` in place; return the loss, c and the number of steps.

    The loss is ``sum_i huber_delta(y_i - c - exp(z_i . b)) + b' quad b / 2`` with ``c >= floor``.
    """
    cdef Py_ssize_t runs = z.shape[0], width = z.shape[1]
    cdef double loss = 0
    cdef int done
    check_aligned(<size_t>&z[0, 0] | <size_t>&y[0] | <size_t>&quad[0, 0] | <size_t>&b[0])
    check_shape(runs, width, y.shape[0], b.shape[0])
    check_shape(width, width, quad.shape[0], quad.shape[1])
    check_some(runs, width)
    with nogil:
        done = mf_descend(runs, width, &z[0, 0], &y[0], delta, &quad[0, 0], floor, &c, &b[0], steps, tol, &loss)
    ended()
    check_memory(done)
    return loss, c, done


def ascend(const double[:, ::1] a not None, const double[::1] log_weight not None, const double[::1] linear not None,
           const double[::1] log_prior not None, const double[::1] low not None, const double[::1] high not None,
           double kl, double[::1] z not None, double level, double[::1] w not None, double[::1] logs not None,
           int least, int most, int halvings, double armijo, double rounding, double close):
    """Climb the dual of a proposal from exponents z (J,), in place; return the steps taken and the level, or None.

    Fills the optimal shares w (K,) for these exponents, and their logarithms before limits. None: the dual is not
    finite at z, or no step raises it. J may be 0. See `laws/dual.h` for the rules.
    """
    cdef Py_ssize_t metrics = a.shape[0], domains = a.shape[1]
    cdef mf_proposal proposal
    cdef mf_ascent rules
    cdef int done
    check_aligned(<size_t>&a[0, 0] | <size_t>&log_weight[0] | <size_t>&linear[0] | <size_t>&log_prior[0] |
                  <size_t>&low[0] | <size_t>&high[0] | <size_t>&z[0] | <size_t>&w[0] | <size_t>&logs[0])
    check_some(domains, domains)
    check_shape(metrics, metrics, log_weight.shape[0], z.shape[0])
    check_shape(domains, domains, linear.shape[0], log_prior.shape[0])
    check_shape(domains, domains, low.shape[0], high.shape[0])
    check_shape(domains, domains, w.shape[0], logs.shape[0])
    if not kl > 0.0:
        raise ValueError(f"kl is {kl}, a number above 0 is required")
    proposal.metrics, proposal.domains, proposal.kl = metrics, domains, kl
    proposal.a, proposal.log_weight, proposal.linear = &a[0, 0], &log_weight[0], &linear[0]
    proposal.log_prior, proposal.low, proposal.high = &log_prior[0], &low[0], &high[0]
    rules.least, rules.most, rules.halvings = least, most, halvings
    rules.armijo, rules.rounding, rules.close = armijo, rounding, close
    with nogil:
        done = mf_ascend(&proposal, &rules, &z[0], &level, &w[0], &logs[0])
    ended()
    check_memory(done)
    return None if done < 0 else (done, level)


cdef int check_some(Py_ssize_t m, Py_ssize_t n) except -1:
    """Raise ValueError for empty arrays, which have no address."""
    if m < 1 or n < 1:
        raise ValueError(f"an argument has shape {(m, n)}, at least (1, 1) is required")
    return 0


def covariance(const double[:, ::1] gram not None, const double[::1] norms not None,
               const double[:, ::1] linear not None, double amplitude, double slope, double noise,
               double[:, ::1] k not None, double[:, ::1] h not None):
    """Fill the lower triangles (R, R) of the covariance of runs, k, and of `-2 dk/d(r^2)` of its Matern part, h."""
    cdef Py_ssize_t n = norms.shape[0]
    cdef int failed
    check_aligned(<size_t>&gram[0, 0] | <size_t>&norms[0] | <size_t>&linear[0, 0] | <size_t>&k[0, 0] |
                  <size_t>&h[0, 0])
    check_some(n, n)
    check_shape(n, n, gram.shape[0], gram.shape[1])
    check_shape(n, n, linear.shape[0], linear.shape[1])
    check_shape(n, n, k.shape[0], k.shape[1])
    check_shape(n, n, h.shape[0], h.shape[1])
    with nogil:
        failed = mf_covariance(n, &gram[0, 0], &norms[0], &linear[0, 0], amplitude, slope, noise, &k[0, 0], &h[0, 0])
    ended()
    check_memory(failed)


def likelihood_memory(Py_ssize_t runs, Py_ssize_t dims):
    """Return the size of the work area of `likelihood`, in doubles."""
    if runs < 1 or dims < 1:
        raise ValueError(f"a process of {runs} runs and {dims} features, at least 1 of each is required")
    return mf_likelihood_memory(runs, dims)


def likelihood(const double[:, ::1] z not None, const double[:, ::1] linear not None, const double[::1] target not None,
               double amplitude, double slope, double noise, double[::1] memory not None, double[::1] alpha not None,
               double[::1] diagonal not None, double[::1] on_length not None):
    """Return fit, half the log determinant, mean, trace of A and of A linear; None if K is not positive definite.

    `memory` holds zeros before the first call, and belongs to one thread. Fills alpha (R,), the diagonal (R,) of the
    inverse of K, and slopes (D,) by minus the logarithms of lengths.
    """
    cdef Py_ssize_t n = z.shape[0], dims = z.shape[1]
    cdef mf_likelihood_parts parts
    cdef int definite
    check_aligned(<size_t>&z[0, 0] | <size_t>&linear[0, 0] | <size_t>&target[0] | <size_t>&memory[0] |
                  <size_t>&alpha[0] | <size_t>&diagonal[0] | <size_t>&on_length[0])
    check_some(n, dims)
    check_shape(n, n, linear.shape[0], linear.shape[1])
    check_shape(n, n, target.shape[0], alpha.shape[0])
    check_shape(n, dims, diagonal.shape[0], on_length.shape[0])
    if <size_t>memory.shape[0] != mf_likelihood_memory(n, dims):
        raise ValueError(f"memory has {memory.shape[0]} numbers, {mf_likelihood_memory(n, dims)} are required")
    with nogil:
        definite = mf_likelihood(n, dims, &z[0, 0], &linear[0, 0], &target[0], amplitude, slope, noise, &memory[0],
                                 &alpha[0], &diagonal[0], &on_length[0], &parts)
    ended()
    return (parts.fit, parts.half_log_det, parts.mean, parts.trace, parts.linear) if definite else None


def matern(const double[:, ::1] gram not None, const double[::1] rows not None, const double[::1] columns not None,
           double[:, ::1] k not None):
    """Fill k with Matern-5/2 correlations (M, R) of rows and columns, from inner products; k may be `gram`."""
    cdef Py_ssize_t m = rows.shape[0], n = columns.shape[0]
    cdef int failed
    check_aligned(<size_t>&gram[0, 0] | <size_t>&rows[0] | <size_t>&columns[0] | <size_t>&k[0, 0])
    check_shape(m, n, gram.shape[0], gram.shape[1])
    check_shape(m, n, k.shape[0], k.shape[1])
    if m == 0 or n == 0:
        return
    with nogil:
        failed = mf_matern(m, n, &gram[0, 0], &rows[0], &columns[0], NULL, &k[0, 0], NULL)
    ended()
    check_memory(failed)


def matern_slope(const double[:, ::1] gram not None, const double[::1] rows not None,
                 const double[::1] columns not None, const double[::1] alpha not None, double[:, ::1] k not None,
                 double[:, ::1] h not None):
    """Fill k with the correlations (M, R) of `matern`, and h with `-2 dk/d(r^2)` times alpha (R,)."""
    cdef Py_ssize_t m = rows.shape[0], n = columns.shape[0]
    cdef int failed
    check_aligned(<size_t>&gram[0, 0] | <size_t>&rows[0] | <size_t>&columns[0] | <size_t>&alpha[0] |
                  <size_t>&k[0, 0] | <size_t>&h[0, 0])
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
