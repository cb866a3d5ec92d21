# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled CPU core of mixfast: typed arrays in, one nogil call, arrays out.

Design note
-----------
a. All mathematics is C (`rows.c`, `qp.c`, `simplex.c`); this file only checks shapes and owns memory.
b. A `Rows` object is one view of a table: columns in use, row weights, precision. It never copies the table;
   `Rows.pack` makes the in-cache copy of a few rows that the solver's coarse levels work on.
c. Long sweeps are cut into segments of about 50 ms. Between two segments the GIL is taken for a moment so that
   Ctrl-C is seen. Everything else runs without the GIL, and no state is shared between calls: solves in several
   threads, and in a forked child, are safe.
d. Partial sums belong to chunks of rows that depend on the sizes alone and are added in order, so that the
   answer does not depend on the number of threads.
"""

from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from cpython.exc cimport PyErr_CheckSignals

import numpy as np

cdef extern from "rows.h" nogil:
    ctypedef struct mf_rows:
        const void *data
        int dtype
        Py_ssize_t n
        Py_ssize_t stride
        const int32_t *cols
        Py_ssize_t ncol
        const double *weight
        double scale
        int shift
        int bounded
        int wide
        const void *panels
        Py_ssize_t block
        const double *offset
    ctypedef struct mf_facts:
        double largest
        double smallest
        double lowest_top
        int has_nan
    const char *mf_isa()
    Py_ssize_t mf_plan(Py_ssize_t n, Py_ssize_t ncol, int hessian, Py_ssize_t *chunk_rows)
    int mf_pass(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, Py_ssize_t first,
                Py_ssize_t last, double *partial, int threads)
    int mf_mixture_nll(const mf_rows *rows, const double *mixtures, Py_ssize_t m, int products,
                       Py_ssize_t first, Py_ssize_t last, double *partial, int threads)
    int mf_many_gradients(const mf_rows *rows, const double *mixtures, Py_ssize_t m, int shared,
                          const int32_t *bins, const float *mult, Py_ssize_t nbins, Py_ssize_t first,
                          Py_ssize_t last, double *partial, int threads)
    void mf_draw(const uint32_t *bits, Py_ssize_t m, Py_ssize_t size, float *counts, Py_ssize_t stride)
    int mf_pack(const mf_rows *rows, const int64_t *index, Py_ssize_t n, Py_ssize_t block, int wide,
                void *panels, double *offset, int threads)
    int mf_scan(const mf_rows *rows, Py_ssize_t first, Py_ssize_t last, mf_facts *partial, int threads)

cdef extern from "qp.h" nogil:
    int mf_qp(Py_ssize_t n, const double *hessian, const double *gradient, const double *w, const double *lo,
              const double *hi, signed char *state, double *step, double *level)
    Py_ssize_t mf_qp_many(Py_ssize_t m, Py_ssize_t n, const double *hessian, const int64_t *which,
                          const double *gradient, const double *w, const double *lo, const double *hi,
                          signed char *state, double *step)
    int mf_secant_many(Py_ssize_t m, Py_ssize_t n, double *hessian, const int64_t *which, const double *moved,
                       const double *change)

cdef extern from "simplex.h" nogil:
    int mf_project(const double *x, const double *lo, const double *hi, Py_ssize_t n, double total, double *out)
    int mf_linear_min(const double *g, const double *lo, const double *hi, Py_ssize_t n, double total, double *out)

cdef extern from "blend.h" nogil:
    ctypedef struct mf_slope:
        pass

    ctypedef struct mf_split:
        pass
    ctypedef struct mf_domain:
        int64_t size
        uint64_t key
    ctypedef struct mf_stage:
        Py_ssize_t leaves
        mf_split *split
        mf_slope *slope
        const int32_t *parent
        int64_t start
        int64_t origin
        int64_t step
        int64_t steps
        const int64_t *base
        const int32_t *domain
        Py_ssize_t events
        const int64_t *event_at
        const int32_t *event_leaf
        const int64_t *event_lag
        const int64_t *touch_first
        const int64_t *touch_at
        const int64_t *touch_by
    int mf_tree_shape(Py_ssize_t leaves, const int64_t *weight, mf_split *split, int32_t *parent)
    int64_t mf_tree_fill(mf_stage *stage, const int64_t *a, const int64_t *c, const int64_t *f)
    int mf_tree_counts(const mf_stage *stage, int64_t n, int64_t *count)
    int64_t mf_tree_when(const mf_stage *stage, Py_ssize_t leaf, int64_t m)
    void mf_blend_at(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, int64_t step,
                     Py_ssize_t count, int64_t *out_domain, int64_t *out_index, int64_t *out_epoch)
    int mf_blend_run(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, Py_ssize_t count,
                     int64_t *out_domain, int64_t *out_index, int64_t *out_epoch)
    void mf_tree_advance(Py_ssize_t n, const int64_t *a, const int64_t *c, int64_t step, int64_t steps, int64_t length,
                         int64_t *whole, int64_t *frac)
    Py_ssize_t mf_tree_events(int64_t start, int64_t end, Py_ssize_t n, const int64_t *skip, const int64_t *place,
                              const int64_t *turn, const int64_t *latest, int64_t *out)
    void mf_tree_shares(Py_ssize_t n, const int64_t *v, int64_t *out)
    void mf_tree_slopes(Py_ssize_t n, const int64_t *a, const int64_t *b, int64_t step, int64_t length, int64_t *out)
    uint64_t mf_mix(uint64_t x)

cdef enum:
    F16 = 0
    F32 = 1
    F64 = 2

cdef Py_ssize_t SEGMENT = 1 << 25  # elements a thread handles between two looks at the signals


cdef inline void *address(object array) except NULL:
    return <void *><uint64_t>array.ctypes.data


cdef object aligned(Py_ssize_t size, dtype):
    """An uninitialised array that begins on a cache line: a vector that straddles two costs twice."""
    memory = np.empty(size * np.dtype(dtype).itemsize + 64, dtype=np.uint8)
    cdef Py_ssize_t start = -<Py_ssize_t>address(memory) % 64
    start = (start + 64) % 64
    return memory[start:start + size * np.dtype(dtype).itemsize].view(dtype)


def isa():
    """Name of the instruction set in use: avx512, avx2 or baseline."""
    return mf_isa().decode()


cdef class Rows:
    """Rows of a log-likelihood table as the kernels see them.

    Parameters
    ----------
    loglik : (n, K) float16, float32 or float64, rows contiguous; kept, not copied.
    weight : (n,) float64 row weights c_i, or None when all equal `scale`.
    scale : float, the common weight, or a typical one.
    shift : subtract each row's maximum over the columns in use before exp.
    wide : panels in float64 (True) or float32 (False); sums are float64 in both.
    cols : (C,) int32, the columns in use; None for all.
    bounded : no element is below the range of exp (-87 for float32 panels, -708 for float64).
    """

    cdef mf_rows c
    cdef readonly object loglik, weight, cols, panels, offset
    cdef readonly Py_ssize_t n_rows, n_cols

    def __init__(self, loglik, weight, double scale, bint shift, bint wide, cols=None, bint bounded=False):
        cdef const int32_t[::1] cols_view
        cdef const double[::1] weight_view
        self.loglik = loglik
        self.weight = weight
        self.cols = cols
        self.n_rows, self.n_cols = loglik.shape
        self.c.data = address(loglik)
        self.c.dtype = {2: F16, 4: F32, 8: F64}[loglik.itemsize]
        self.c.n = self.n_rows
        self.c.stride = loglik.strides[0] // loglik.itemsize
        if cols is not None:
            cols_view = cols
            self.n_cols = cols_view.shape[0]
            self.c.cols = &cols_view[0]
        self.c.ncol = self.n_cols
        if weight is not None:
            weight_view = weight
            self.c.weight = &weight_view[0]
        self.c.scale = scale
        self.c.shift = shift
        self.c.wide = wide
        self.c.bounded = bounded

    def with_columns(self, cols):
        """The same rows, restricted to the columns `cols` (int32); not for packed rows."""
        return Rows(self.loglik, self.weight, self.c.scale, self.c.shift, self.c.wide, cols, self.c.bounded)

    def pack(self, index, weight, double scale, bint wide, int threads=1):
        """Copy rows `index` (int64, or None for all) into panels of probabilities."""
        cdef Py_ssize_t n = self.n_rows if index is None else index.shape[0]
        cdef Py_ssize_t block = 512, item = 8 if wide else 4
        while block > 32 and block * self.n_cols * item > 16384:
            block //= 2
        cdef Rows out = Rows.__new__(Rows)
        panels = aligned((n + block - 1) // block * block * self.n_cols, np.float64 if wide else np.float32)
        cdef const int64_t *index_p = NULL
        cdef const int64_t[::1] index_view
        cdef double *offset_p = NULL
        cdef double[::1] offset_view
        cdef const double[::1] weight_view
        if index is not None:
            index_view = index
            index_p = &index_view[0]
        if self.c.shift:
            out.offset = np.empty(n)
            offset_view = out.offset
            offset_p = &offset_view[0]
            out.c.offset = offset_p
        out.panels = panels
        out.weight = weight
        out.n_rows = out.c.n = n
        out.n_cols = out.c.ncol = self.n_cols
        out.c.scale = scale
        out.c.wide = wide
        out.c.panels = address(panels)
        out.c.block = block
        if weight is not None:
            weight_view = weight
            out.c.weight = &weight_view[0]
        cdef void *panels_p = address(panels)
        cdef int failed
        with nogil:
            failed = mf_pack(&self.c, index_p, n, block, wide, panels_p, offset_p, threads)
        if failed:
            raise MemoryError("mixfast: no memory for a work area")
        return out

    cdef int crew(self, int threads) noexcept:
        """Threads worth starting: one per 2^20 elements."""
        cdef Py_ssize_t useful = self.n_rows * self.n_cols // (1 << 20) + 1
        return threads if threads < useful else <int>useful

    def sums(self, const double[::1] mixture, bint value=True, int hessian=0, int threads=1, bint coarse=False):
        """(value, gradient (C,), Hessian (C, C) or None) of sum_i c_i * -log(p_i . w), float64.

        `hessian`: 0 for none, 1 for that of all rows, a power of two for an estimate from one row in so many, scaled to
        the diagonal of all rows. `coarse`: sums within blocks of rows in the panels' own precision, about 1e-6 of the
        gradient, and no scaling.
        """
        cdef Py_ssize_t C = self.n_cols, slot = 1 + C + (C * C + C if hessian else 0)
        cdef Py_ssize_t chunk_rows, chunks = mf_plan(self.n_rows, C, hessian, &chunk_rows)
        cdef Py_ssize_t step, first, last, i, j
        cdef int failed = 0
        if mixture.shape[0] != C:
            raise ValueError(f"mixture has {mixture.shape[0]} shares for {C} columns")
        threads = self.crew(threads)
        step = max(threads, SEGMENT * threads // (chunk_rows * C) + 1)
        total = np.zeros(slot)
        cdef double[::1] t = total
        cdef double[::1] p = total if chunks == 1 else np.empty(min(chunks, step) * slot)
        for first in range(0, chunks, step):
            last = min(first + step, chunks)
            with nogil:
                failed = mf_pass(&self.c, &mixture[0], value, hessian, coarse, first, last, &p[0], threads)
                if chunks > 1 and not failed:
                    for j in range(last - first):
                        for i in range(slot):
                            t[i] += p[j * slot + i]
            if failed:
                raise MemoryError("mixfast: no memory for a work area")
            if last < chunks:
                PyErr_CheckSignals()
        if not hessian:
            return t[0], total[1:], None
        cdef double[::1] unit = total[1 + C + C * C:]
        cdef double[:, ::1] H = total[1 + C:1 + C + C * C].reshape(C, C)
        if hessian > 1 and not coarse:
            for i in range(C):
                unit[i] = sqrt(unit[i] / H[i, i]) if H[i, i] > 0 else 0
                for j in range(i + 1):
                    H[i, j] *= unit[i] * unit[j]
        for i in range(C):
            for j in range(i):
                H[j, i] = H[i, j]
        return t[0], total[1:1 + C], np.asarray(H)

    def mixture_nll(self, const double[:, ::1] mixtures, int products=1, int threads=1):
        """Losses (M,) float64 of M candidate mixtures (M, C); +inf where a row has no mass."""
        cdef Py_ssize_t M = mixtures.shape[0], chunk_rows
        cdef Py_ssize_t chunks = mf_plan(self.n_rows, self.n_cols, 0, &chunk_rows)
        cdef Py_ssize_t step, first, last, i, j
        cdef int failed = 0
        total = np.zeros(M)
        if M == 0:
            return total
        if mixtures.shape[1] != self.n_cols:
            raise ValueError(f"mixtures have {mixtures.shape[1]} shares for {self.n_cols} columns")
        threads = self.crew(threads) if M < 64 else threads
        step = max(threads, SEGMENT * threads // (chunk_rows * self.n_cols * (1 + M // 16)) + 1)
        cdef double[::1] t = total
        cdef double[::1] p = np.empty(min(chunks, step) * M)
        for first in range(0, chunks, step):
            last = min(first + step, chunks)
            with nogil:
                failed = mf_mixture_nll(&self.c, &mixtures[0, 0], M, products, first, last, &p[0], threads)
                if not failed:
                    for j in range(last - first):
                        for i in range(M):
                            t[i] += p[j * M + i]
            if failed:
                raise MemoryError("mixfast: no memory for a work area")
            if last < chunks:
                PyErr_CheckSignals()
        return total

    def gradients(self, const double[:, ::1] mixtures, bins=None, mult=None, int threads=1):
        """(M, C) gradients of M objectives, each at its own mixture, rows re-weighted by mult[j, bins[i]].

        mixtures (M, C) float64; bins (n,) int32; mult (M, B) float32; both None for plain gradients.
        One mixture for many objectives (1, C) costs little more than one gradient where rows of a bin are neighbours.
        """
        cdef Py_ssize_t M = mixtures.shape[0], C = self.n_cols, chunk_rows, nbins = 0
        cdef Py_ssize_t chunks = mf_plan(self.n_rows, C, 0, &chunk_rows)
        cdef Py_ssize_t step, first, last, i, j
        cdef const int32_t[::1] bins_view
        cdef const float[:, ::1] mult_view
        cdef const int32_t *bins_p = NULL
        cdef const float *mult_p = NULL
        cdef int failed = 0
        cdef bint shared = False
        if bins is not None:
            bins_view = bins
            mult_view = mult
            bins_p = &bins_view[0]
            mult_p = &mult_view[0, 0]
            nbins = mult_view.shape[1]
            shared = M == 1 and mult_view.shape[0] > 1
            if shared:
                M = mult_view.shape[0]
            if mult_view.shape[0] != M:
                raise ValueError(f"{mult_view.shape[0]} rows of multiplicities for {M} mixtures")
        total = np.zeros((M, C))
        if M == 0:
            return total
        cdef double[:, ::1] total_view = total
        cdef double *t = &total_view[0, 0]
        threads = self.crew(threads) if M < 16 or shared else threads
        step = max(threads, SEGMENT * threads // (chunk_rows * C * (1 + (0 if shared else M // 8))) + 1)
        cdef double[::1] p = np.empty(min(chunks, step) * M * C)
        for first in range(0, chunks, step):
            last = min(first + step, chunks)
            with nogil:
                failed = mf_many_gradients(&self.c, &mixtures[0, 0], M, shared, bins_p, mult_p, nbins, first, last,
                                           &p[0], threads)
                if not failed:
                    for j in range(last - first):
                        for i in range(M * C):
                            t[i] += p[j * M * C + i]
            if failed:
                raise MemoryError("mixfast: no memory for a work area")
            if last < chunks:
                PyErr_CheckSignals()
        return total


def facts(Rows rows not None, int threads=1):
    """(largest, smallest, lowest_top, has_nan) of a table in one sweep.

    Extremes of all elements, and the smallest of the rows' largest elements; NaN is left out of them.
    """
    cdef Py_ssize_t chunk_rows, chunks = mf_plan(rows.n_rows, rows.n_cols, 0, &chunk_rows)
    cdef Py_ssize_t step, first, last, i
    cdef mf_facts partial[512]
    cdef double largest = -np.inf, smallest = np.inf, lowest_top = np.inf
    cdef bint has_nan = False
    cdef int failed
    threads = rows.crew(threads)
    step = min(512, max(threads, SEGMENT * threads // (chunk_rows * rows.n_cols) + 1))
    for first in range(0, chunks, step):
        last = min(first + step, chunks)
        with nogil:
            failed = mf_scan(&rows.c, first, last, partial, threads)
        if failed:
            raise MemoryError("mixfast: no memory for a work area")
        for i in range(last - first):
            largest = max(largest, partial[i].largest)
            smallest = min(smallest, partial[i].smallest)
            lowest_top = min(lowest_top, partial[i].lowest_top)
            has_nan |= partial[i].has_nan != 0
        if last < chunks:
            PyErr_CheckSignals()
    return largest, smallest, lowest_top, bool(has_nan)


def qp(const double[:, ::1] hessian, const double[::1] gradient, const double[::1] w, const double[::1] lo,
       const double[::1] hi, signed char[::1] state):
    """Newton step d (K,), the sum's multiplier and the rounds used; `state` (int8) is the active set, updated."""
    cdef Py_ssize_t n = gradient.shape[0]
    cdef double level = 0
    cdef int rounds
    step = np.zeros(n)
    cdef double[::1] d = step
    with nogil:
        rounds = mf_qp(n, &hessian[0, 0], &gradient[0], &w[0], &lo[0], &hi[0], &state[0], &d[0], &level)
    if rounds == -1:
        raise MemoryError("mixfast: no memory for the quadratic step")
    return step, level, rounds


def draw(const uint32_t[:, ::1] bits, float[:, ::1] counts, Py_ssize_t first=0):
    """Draw with replacement as many units as there are: counts (M, first ..) of each, from random bits (M, size)."""
    cdef Py_ssize_t m = bits.shape[0], size = bits.shape[1], stride = counts.shape[1]
    check_shape(m, stride, counts.shape[0], max(stride, first + size))
    if first < 0:
        raise ValueError(f"units that begin at {first}")
    if m and size:
        with nogil:
            mf_draw(&bits[0, 0], m, size, &counts[0, first], stride)


cdef int check_shape(Py_ssize_t m, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t columns) except -1:
    """Refuse an argument that does not belong to the others."""
    if rows != m or columns != n:
        raise ValueError(f"a shape of {(rows, columns)} where the others say {(m, n)}")
    return 0


cdef int check_which(const int64_t[:] which, Py_ssize_t count) except -1:
    """Refuse numbers of Hessians that are not there."""
    cdef Py_ssize_t j
    for j in range(which.shape[0]):
        if which[j] < 0 or which[j] >= count:
            raise ValueError(f"Hessian {which[j]} of {count}")
    return 0


def qp_many(const double[:, :, ::1] hessian, const int64_t[::1] which, const double[:, ::1] gradient,
            const double[:, ::1] w, const double[:, ::1] lo, const double[:, ::1] hi, signed char[:, ::1] state):
    """Newton steps (M, K) of M problems as `qp` has them; problem j has the Hessian which[j] of (H, K, K)."""
    cdef Py_ssize_t m = which.shape[0], n = gradient.shape[1], at = 0, part, done
    check_which(which, hessian.shape[0])
    check_shape(n, n, hessian.shape[1], hessian.shape[2])
    check_shape(m, n, gradient.shape[0], n)
    check_shape(m, n, w.shape[0], w.shape[1])
    check_shape(m, n, lo.shape[0], lo.shape[1])
    check_shape(m, n, hi.shape[0], hi.shape[1])
    check_shape(m, n, state.shape[0], state.shape[1])
    step = np.zeros((m, n))
    cdef double[:, ::1] d = step
    while at < m:  # in pieces, between which Ctrl-C is seen
        part = min(m - at, SEGMENT // (n * n * n) + 1)
        with nogil:
            done = mf_qp_many(part, n, &hessian[0, 0, 0], &which[at], &gradient[at, 0], &w[at, 0], &lo[at, 0],
                              &hi[at, 0], &state[at, 0], &d[at, 0])
        if done < part:
            raise MemoryError("mixfast: no memory for the quadratic step")
        at += part
        if at < m:
            PyErr_CheckSignals()
    return step


def secant_many(double[:, :, ::1] hessian, const int64_t[::1] which, const double[:, ::1] moved,
                const double[:, ::1] change):
    """Damped BFGS, in place, of Hessians number `which` (M,): they then map moved (M, K) to the observed change."""
    cdef Py_ssize_t m = which.shape[0], n = moved.shape[1]
    cdef int failed
    check_which(which, hessian.shape[0])
    check_shape(n, n, hessian.shape[1], hessian.shape[2])
    check_shape(m, n, moved.shape[0], n)
    check_shape(m, n, change.shape[0], change.shape[1])
    if m == 0:
        return
    with nogil:
        failed = mf_secant_many(m, n, &hessian[0, 0, 0], &which[0], &moved[0, 0], &change[0, 0])
    if failed:
        raise MemoryError("mixfast: no memory for the quadratic step")


def _why_empty(const double[::1] numbers):
    return "the capped simplex is empty" if np.isfinite(numbers).all() else "a gradient or a point is not finite"


def project(const double[::1] x, const double[::1] lo, const double[::1] hi, double total=1.0):
    """Euclidean projection of x on {lo <= w <= hi, sum w = total}."""
    cdef int failed
    out = np.empty(x.shape[0])
    cdef double[::1] o = out
    with nogil:
        failed = mf_project(&x[0], &lo[0], &hi[0], x.shape[0], total, &o[0])
    if failed == -1:
        raise MemoryError("mixfast: no memory for the projection")
    if failed:
        raise ValueError(_why_empty(x))
    return out


def linear_min(const double[::1] g, const double[::1] lo, const double[::1] hi, double total=1.0):
    """A vertex of {lo <= w <= hi, sum w = total} that minimises g.w; ties go to the lowest index."""
    cdef int failed
    out = np.empty(g.shape[0])
    cdef double[::1] o = out
    with nogil:
        failed = mf_linear_min(&g[0], &lo[0], &hi[0], g.shape[0], total, &o[0])
    if failed == -1:
        raise MemoryError("mixfast: no memory for the linear step")
    if failed:
        raise ValueError(_why_empty(g))
    return out


def domain_table(const int64_t[::1] sizes, uint64_t seed):
    """Sizes (K,) of domains, 0 for endless ones, with the keys of their orders: what the methods of `Stage` take."""
    cdef Py_ssize_t K = sizes.shape[0], k
    table = np.empty((K, 2), dtype=np.uint64)
    cdef uint64_t[:, ::1] t = table
    for k in range(K):
        t[k, 0] = <uint64_t>sizes[k]
        t[k, 1] = mf_mix(mf_mix(seed) + 0x9e3779b97f4a7c15u * <uint64_t>(k + 1))
    return table


def blend_shares(const int64_t[::1] v):
    """Integers (n,) over their sum, in units of 2^-62, with the sum 2^62 exactly."""
    out = np.empty(v.shape[0], dtype=np.int64)
    cdef int64_t[::1] o = out
    mf_tree_shares(v.shape[0], &v[0], &o[0])
    return out


def blend_slopes(const int64_t[::1] a, const int64_t[::1] b, int64_t step, int64_t length):
    """Slopes (n,) of straight lines from `a` to `b` over `length` samples, for steps of `step` samples."""
    check_shape(a.shape[0], 1, b.shape[0], 1)
    out = np.empty(a.shape[0], dtype=np.int64)
    cdef int64_t[::1] o = out
    mf_tree_slopes(a.shape[0], &a[0], &b[0], step, length, &o[0])
    return out


def blend_advance(const int64_t[::1] a, slope, int64_t step, int64_t steps, int64_t length, int64_t[::1] whole,
                  int64_t[::1] frac):
    """Move exact counts (n,), whole + frac over 2^62, on by `length` samples, in place."""
    cdef const int64_t[::1] view
    cdef const int64_t *c = NULL
    check_shape(a.shape[0], a.shape[0], whole.shape[0], frac.shape[0])
    if slope is not None:
        view = slope
        check_shape(a.shape[0], 1, view.shape[0], 1)
        c = &view[0]
    mf_tree_advance(a.shape[0], &a[0], c, step, steps if c else 0, length, &whole[0], &frac[0])


def blend_events(int64_t start, int64_t end, const int64_t[::1] skip, const int64_t[::1] place, const int64_t[::1] turn,
                 const int64_t[::1] latest):
    """Events (6, E) of samples passed over (n,) and turns (n,); the columns are those of blend.h."""
    cdef Py_ssize_t n = skip.shape[0], made
    check_shape(n, n, place.shape[0], turn.shape[0])
    check_shape(n, n, latest.shape[0], n)
    out = np.empty((6, 2 * n), dtype=np.int64)
    cdef int64_t[:, ::1] o = out
    made = mf_tree_events(start, end, n, &skip[0], &place[0], &turn[0], &latest[0], &o[0, 0])
    return out[:, :made]


cdef class Stage:
    """A stretch of a blended stream as the C functions see it; see blend.h.

    Parameters
    ----------
    start : int, its first sample; origin : int, count of the tree's root there.
    domain : (n,) int32, numbers of the domains that have a share, heaviest first.
    share, slope : (n,) int64, shares are share + slope (2u + 1) over 2^62 in step u; slope None if they are constant.
    exact : (n,) int64, fractions of the exact counts at the start over 2^62, or None for zeros.
    step, steps : int, length of a ramp's step in samples, and their number; 0, 0 where shares are constant.
    shape : Stage with the same domains whose tree is to be used again, or None.
    """

    cdef mf_stage c
    cdef readonly object domain, base, events
    cdef object split, slope, parent, memory
    cdef readonly double bound

    def __init__(self, int64_t start, int64_t origin, const int32_t[::1] domain, const int64_t[::1] share,
                 slope=None, exact=None, int64_t step=0, int64_t steps=0, Stage shape=None):
        cdef Py_ssize_t n = domain.shape[0]
        cdef const int64_t[::1] view
        cdef const int64_t *slope_p = NULL
        cdef const int64_t *exact_p = NULL
        cdef int64_t[::1] middle
        cdef int32_t[::1] parent
        cdef int64_t reach
        check_shape(n, 1, share.shape[0], 1)
        self.domain = np.asarray(domain)
        self.base = np.zeros(n, dtype=np.int64)
        self.split = np.zeros(max(n - 1, 1) * sizeof(mf_split), dtype=np.uint8)
        self.c.leaves = n
        self.c.split = <mf_split *>address(self.split)
        if steps:
            self.slope = np.empty(max(n - 1, 1) * sizeof(mf_slope), dtype=np.uint8)
            self.c.slope = <mf_slope *>address(self.slope)
        self.c.domain = &domain[0]
        self.c.base = <const int64_t *>address(self.base)
        self.c.start, self.c.origin, self.c.step, self.c.steps = start, origin, step, steps
        weight = np.array(share)
        if slope is not None:
            view = slope
            check_shape(n, 1, view.shape[0], 1)
            slope_p = &view[0]
            weight += steps * np.asarray(slope)
        if exact is not None:
            view = exact
            check_shape(n, 1, view.shape[0], 1)
            exact_p = &view[0]
        if shape is None:
            middle = weight
            self.parent = np.full(2 * n - 1, -1, dtype=np.int32)
            parent = self.parent
            if mf_tree_shape(n, &middle[0], self.c.split, &parent[0]):
                raise MemoryError("mixfast: no memory for the tree of a stage")
        else:
            self.parent = shape.parent
            self.split[:] = shape.split
            parent = self.parent
        self.c.parent = &parent[0]
        reach = mf_tree_fill(&self.c, &share[0], slope_p, exact_p)
        if reach < 0:
            raise MemoryError("mixfast: no memory for the tree of a stage")
        self.bound = reach / 8589934592.0  # half of it, over 2^32

    def counts(self, int64_t n):
        """Counts (n,) of the leaves when the root's is `n`."""
        found = np.empty(self.c.leaves, dtype=np.int64)
        cdef int64_t[::1] f = found
        if mf_tree_counts(&self.c, n, &f[0]):
            raise MemoryError("mixfast: no memory for the counts of a stage")
        return found

    def when(self, const int64_t[::1] leaf, const int64_t[::1] count):
        """Samples (m,) at which leaves get their count-th in the tree; 2^62 for never."""
        cdef Py_ssize_t m = leaf.shape[0], j
        check_shape(m, 1, count.shape[0], 1)
        found = np.empty(m, dtype=np.int64)
        cdef int64_t[::1] f = found
        for j in range(m):
            if leaf[j] < 0 or leaf[j] >= self.c.leaves:
                raise ValueError(f"leaf {leaf[j]} of {self.c.leaves}")
            f[j] = mf_tree_when(&self.c, leaf[j], count[j])
        return found

    def set_events(self, const int64_t[::1] at, const int32_t[::1] leaf, const int64_t[::1] lag,
                   const int64_t[::1] first, const int64_t[::1] touch_at, const int64_t[::1] touch_by):
        """Events (E,) as in blend.h, and what leaf k gains by them: touch_by behind touch_at, from first[k] on."""
        check_shape(at.shape[0], self.c.leaves + 1, leaf.shape[0], first.shape[0])
        check_shape(at.shape[0], touch_at.shape[0], lag.shape[0], touch_by.shape[0])
        self.memory = (np.asarray(at), np.asarray(leaf), np.asarray(lag), np.asarray(first), np.asarray(touch_at),
                       np.asarray(touch_by))
        self.c.events = at.shape[0]
        if self.c.events:
            self.c.event_at, self.c.event_leaf, self.c.event_lag = &at[0], &leaf[0], &lag[0]
            self.c.touch_first, self.c.touch_at, self.c.touch_by = &first[0], &touch_at[0], &touch_by[0]

    def at(self, const uint64_t[:, ::1] table, bint shuffle, int64_t i):
        """(domain, index, epoch) of sample i."""
        cdef int64_t found[3]
        mf_blend_at(&self.c, <const mf_domain *>&table[0, 0], shuffle, i, 1, 1, found, found + 1, found + 2)
        return found[0], found[1], found[2]

    def fill(self, const uint64_t[:, ::1] table, bint shuffle, int64_t first, int64_t step, int64_t[::1] domain,
             int64_t[::1] index, int64_t[::1] epoch):
        """Samples first, first + step, ... into three arrays of equal length."""
        cdef Py_ssize_t n = domain.shape[0], at = 0, part
        cdef int failed = 0
        cdef const mf_domain *t = <const mf_domain *>&table[0, 0]
        check_shape(n, n, index.shape[0], epoch.shape[0])
        # Setting up all nodes costs about as much as a quarter as many ways down the tree.
        cdef bint apart = step != 1 or 4 * n < self.c.leaves
        while at < n:  # in pieces, between which Ctrl-C is seen
            part = min(n - at, SEGMENT // 256 if apart else SEGMENT // 8)
            with nogil:
                if apart:
                    mf_blend_at(&self.c, t, shuffle, first + at * step, step, part, &domain[at], &index[at],
                                &epoch[at])
                else:
                    failed = mf_blend_run(&self.c, t, shuffle, first + at, part, &domain[at], &index[at], &epoch[at])
            if failed:
                raise MemoryError("mixfast: no memory for the samples of a stage")
            at += part
            if at < n:
                PyErr_CheckSignals()
