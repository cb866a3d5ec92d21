# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Sweeps over the rows of a table of log-likelihoods. The mathematics is in `rows/`; see rows/rows.h.

a. A `Rows` object is one view of a table: columns in use, row weights, precision. It never copies the table;
   `Rows.pack` makes the copy of a few rows, small enough for the cache, that the solver's coarse levels work on.
b. Every sweep runs without the GIL, and no state is shared between calls: solves in several threads, and in a forked
   child, are safe. Ctrl-C ends it within milliseconds: see shared/interrupt.h.
c. Partial sums belong to chunks of rows that depend on the sizes alone and are added in order, so that the
   answer does not depend on the number of threads.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy

import numpy as np

from mixfast._text.visible import visible
from mixfast.errors import TableError

include "shared/boundary.pxi"

cdef extern from "rows/rows.h" nogil:
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
        int mapped
        const void *panels
        Py_ssize_t block
        const double *offset
    ctypedef struct mf_extremes:
        double largest
        double smallest
        double lowest_top
        int has_nan
    Py_ssize_t mf_plan_chunks(Py_ssize_t n, Py_ssize_t ncol, int hessian, Py_ssize_t *chunk_rows)
    Py_ssize_t mf_slot(Py_ssize_t ncol, int hessian)
    int mf_useful_threads(const mf_rows *rows, int hessian, int threads)
    void add_chunks "mf_add_chunks"(double *total, const double *partial, Py_ssize_t chunks, Py_ssize_t slot)
    ctypedef struct mf_also:
        float *influence
        const int32_t *curved
        Py_ssize_t ncurved
    int mf_total_also(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, mf_also also,
                      double *total, int threads)
    int mf_losses(const mf_rows *rows, const double *mixtures, Py_ssize_t m, int products, Py_ssize_t first,
                  Py_ssize_t last, double *partial, int threads)
    int mf_gradients(const mf_rows *rows, const double *mixtures, Py_ssize_t m, int shared, const int32_t *bins,
                     const float *mult, Py_ssize_t nbins, Py_ssize_t first, Py_ssize_t last, double *partial,
                     int threads)
    void mf_resample(const uint32_t *bits, Py_ssize_t m, Py_ssize_t size, float *counts, Py_ssize_t stride)
    Py_ssize_t mf_by_influence(const float *influence, Py_ssize_t n, double apart, Py_ssize_t most, int64_t *index,
                               double *times)
    int mf_pack(const mf_rows *rows, const int64_t *index, Py_ssize_t n, Py_ssize_t block, int wide,
                void *panels, double *offset, int threads)
    int mf_scan(const mf_rows *rows, Py_ssize_t first, Py_ssize_t last, mf_extremes *partial, int threads)

cdef extern from "rows/newton.h" nogil:
    ctypedef struct mf_rules:
        double rough, keep, overshot, far, soon, near, rounded, many, level, rounding, rise, coarse_rise
        double trials, accepted, shorter, stalled, rescues, idle, early, falls, advances, steps, least, held
        double quick, most_steps
    ctypedef struct mf_line:
        double value, gap, seconds
    ctypedef struct mf_found:
        double value, gap
        int has_hessian
        Py_ssize_t steps, lines
        mf_line *trace
    ctypedef struct mf_problem:
        const mf_rows *rows
        const double *low
        const double *high
        double total
        int threads
    int mf_newton(const mf_problem *problem, const mf_rules *rules, double tol, Py_ssize_t most, int settle, double *w,
                  double *gradient, double *hessian, mf_found *found)
    int mf_settle(const mf_problem *problem, const mf_rules *rules, double tol, double *w, int *done)

cdef extern from "rows/fingerprint.h" nogil:
    void mf_fingerprint(const void *data, Py_ssize_t bytes, uint32_t *state)

cdef extern from "shared/pool.h" nogil:
    int MF_LOST

cdef extern from "shared/isa.h" nogil:
    int MF_BASELINE, MF_AVX2, MF_AVX512
    int mf_isa()

cdef enum:
    F16 = 0
    F32 = 1
    F64 = 2
    PARTIAL = 1 << 23  # partial sums kept at a time (64 MB), unless the threads need more


FLOATS = (np.float16, np.float32, np.float64)


cdef object aligned(Py_ssize_t size, dtype):
    """An uninitialised array that begins on a cache line: a vector that straddles two costs twice."""
    memory = np.empty(size * np.dtype(dtype).itemsize + 64, dtype=np.uint8)
    cdef Py_ssize_t start = -<Py_ssize_t>address(memory) % 64
    start = (start + 64) % 64
    return memory[start:start + size * np.dtype(dtype).itemsize].view(dtype)


def isa():
    """Name of the instruction set in use: avx512, avx2 or baseline."""
    return {MF_BASELINE: "baseline", MF_AVX2: "avx2", MF_AVX512: "avx512"}[mf_isa()]


cdef int check_finished(int failed, object loglik) except -1:
    """Raise after a sweep that a signal ended, that ran out of memory, or whose table was truncated."""
    ended()
    if failed == MF_LOST:
        raise TableError(
            f"{file_of(loglik)} was cut short while it was read, so its last rows are gone: write a table to a new "
            "file and rename that, instead of changing one that is in use"
        )
    if failed:
        raise MemoryError("mixfast: no memory for a work area")
    return 0


cdef object file_of(object array):
    """Return the name of the file that backs a memory-mapped array, for a message."""
    while isinstance(array, np.ndarray):
        if getattr(array, "filename", None):
            return visible(str(array.filename))
        array = array.base
    return "the file of a table"


cdef bint may_be_cut_short(object array):
    """Return whether the memory of an array may be a mapped file: no array and no bytes object owns it."""
    while isinstance(array, np.ndarray):
        array = array.base
    return not (array is None or isinstance(array, (bytes, bytearray)))


cdef int check_threads(int threads) except -1:
    if threads < 1:
        raise ValueError(f"threads is {threads}, expected a count of at least 1")
    return 0


cdef int check_table(object loglik) except -1:
    """Raise TypeError or ValueError unless the kernels can read these rows."""
    if not isinstance(loglik, np.ndarray) or loglik.dtype not in FLOATS:
        kind = loglik.dtype if isinstance(loglik, np.ndarray) else type(loglik).__name__
        raise TypeError(f"loglik is {kind}, expected an array of native float16, float32 or float64")
    if loglik.ndim != 2 or loglik.shape[0] < 1 or loglik.shape[1] < 1:
        raise ValueError(f"loglik has shape {loglik.shape}, expected (rows, columns), at least (1, 1)")
    item, (along, across) = loglik.itemsize, loglik.strides
    fits = (across == item or loglik.shape[1] == 1) and (
        loglik.shape[0] == 1 or (along % item == 0 and along >= loglik.shape[1] * item)
    )
    if not fits or not loglik.flags.aligned:
        raise ValueError(f"loglik has strides {loglik.strides}, expected aligned contiguous rows one after the other")
    return 0


cdef int check_range(const int64_t[::1] index, Py_ssize_t count) except -1:
    """Raise ValueError unless all numbers of an index are in [0, count)."""
    cdef Py_ssize_t i
    check_aligned(<size_t>&index[0])
    for i in range(index.shape[0]):
        if index[i] < 0 or index[i] >= count:
            raise ValueError(f"{index[i]} is out of range: expected 0 to {count - 1}")
    return 0


cdef int check_numbers(const int32_t[::1] numbers, Py_ssize_t count) except -1:
    """Raise ValueError unless all bins or columns (32 bits) are in [0, count)."""
    cdef int32_t low = 0, high = 0
    cdef Py_ssize_t i
    check_aligned(<size_t>&numbers[0], 4)
    for i in range(numbers.shape[0]):  # without a branch: there is one number for each row
        low = min(low, numbers[i])
        high = max(high, numbers[i])
    if low < 0 or high >= count:
        raise ValueError(f"{low if low < 0 else high} is out of range: expected 0 to {count - 1}")
    return 0


cdef int check_ascending(const int32_t[::1] numbers) except -1:
    """Raise ValueError unless each number is larger than the one before."""
    cdef Py_ssize_t i
    for i in range(1, numbers.shape[0]):
        if numbers[i] <= numbers[i - 1]:
            raise ValueError(f"{numbers[i]} follows {numbers[i - 1]}: expected ascending columns")
    return 0


cdef class Rules:
    """The constants of the loops in C; see rows/newton.h."""

    cdef mf_rules c

    def __init__(self, **rules):
        self.c = rules


cdef class Rows:
    """Rows of a log-likelihood table as the kernels see them.

    Parameters
    ----------
    loglik : (n, K) float16, float32 or float64, rows contiguous; kept, not copied.
    weight : (n,) float64 row weights c_i, or None when all equal `scale`.
    scale : float, the common weight, or a typical one where weights differ.
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
        if self.c.n:
            raise TypeError("Rows.__init__ can be called once only: make a new object")
        check_table(loglik)
        if cols is not None:
            cols_view = cols
            check_shape(max(1, cols_view.shape[0]), 1, cols_view.shape[0], 1)
            check_numbers(cols_view, loglik.shape[1])
        if weight is not None:
            weight_view = weight
            check_shape(loglik.shape[0], 1, weight_view.shape[0], 1)
            check_aligned(<size_t>&weight_view[0])
        self.loglik = loglik
        self.weight = weight
        self.cols = cols
        self.n_rows, self.n_cols = loglik.shape
        self.c.data = address(loglik)
        self.c.dtype = {2: F16, 4: F32, 8: F64}[loglik.itemsize]
        self.c.n = self.n_rows
        self.c.mapped = may_be_cut_short(loglik)
        self.c.stride = loglik.strides[0] // loglik.itemsize if self.n_rows > 1 else self.n_cols
        if cols is not None:
            self.n_cols = cols_view.shape[0]
            self.c.cols = &cols_view[0]
        self.c.ncol = self.n_cols
        if weight is not None:
            self.c.weight = &weight_view[0]
        self.c.scale = scale
        self.c.shift = shift
        self.c.wide = wide
        self.c.bounded = bounded

    def with_columns(self, cols):
        """The same rows, restricted to the columns `cols` (int32); not for packed rows."""
        self.check_made(False)
        return Rows(self.loglik, self.weight, self.c.scale, self.c.shift, self.c.wide, cols, self.c.bounded)

    def pack(self, index, weight, double scale, bint wide, int threads=1):
        """Copy rows `index` (int64, or None for all) into panels of probabilities."""
        self.check_made(False)
        check_threads(threads)
        cdef const int64_t[::1] index_view
        cdef const double[::1] weight_view
        cdef Py_ssize_t n = self.n_rows
        if index is not None:
            index_view = index
            n = index_view.shape[0]
            check_shape(max(1, n), 1, n, 1)
            check_range(index_view, self.n_rows)
        if weight is not None:
            weight_view = weight
            check_shape(n, 1, weight_view.shape[0], 1)
            check_aligned(<size_t>&weight_view[0])
        cdef Py_ssize_t block = 512, item = 8 if wide else 4
        while block > 32 and block * self.n_cols * item > 16384:
            block //= 2
        cdef Rows out = Rows.__new__(Rows)
        panels = aligned((n + block - 1) // block * block * self.n_cols, np.float64 if wide else np.float32)
        cdef const int64_t *index_p = NULL
        cdef double *offset_p = NULL
        cdef double[::1] offset_view
        if index is not None:
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
            out.c.weight = &weight_view[0]
        cdef void *panels_p = address(panels)
        cdef int failed
        with nogil:
            failed = mf_pack(&self.c, index_p, n, block, wide, panels_p, offset_p, threads)
        check_finished(failed, self.loglik)
        return out

    def take(self, cols):
        """The same packed rows, restricted to the columns `cols` (int32), as a copy.

        The largest of each row stays that of all columns.
        """
        cdef const int32_t[::1] cols_view = cols
        self.check_made(True)
        if not self.c.panels:
            raise ValueError("these rows are not packed: use with_columns")
        check_shape(max(1, cols_view.shape[0]), 1, cols_view.shape[0], 1)
        check_numbers(cols_view, self.n_cols)
        cdef Rows out = Rows.__new__(Rows)
        out.c = self.c
        out.weight, out.offset = self.weight, self.offset
        out.n_rows, out.n_cols = self.n_rows, cols_view.shape[0]
        out.c.ncol = out.n_cols
        cdef Py_ssize_t blocks = (self.n_rows + self.c.block - 1) // self.c.block, _, k
        cdef size_t run = self.c.block * (8 if self.c.wide else 4)
        out.panels = aligned(blocks * out.n_cols * self.c.block, np.float64 if self.c.wide else np.float32)
        out.c.panels = address(out.panels)
        cdef char *to = <char *>out.c.panels
        cdef const char *at = <const char *>self.c.panels
        with nogil:
            for _ in range(blocks):
                if mf_interrupted(<double>(out.n_cols * self.c.block)):
                    break
                for k in range(out.n_cols):
                    memcpy(to, at + <size_t>cols_view[k] * run, run)
                    to += run
                at += <size_t>self.n_cols * run
        ended()
        return out

    cdef int check_made(self, bint packed) except -1:
        """Raise ValueError for rows without a table, and for packed rows unless they are allowed."""
        if self.n_rows < 1 or self.n_cols < 1 or not (self.c.data or self.c.panels):
            raise ValueError("these rows have no table")
        if self.c.panels and not packed:
            raise ValueError("these rows are packed: expected the rows of a table")
        return 0

    cdef int useful_threads(self, int threads) except -1:
        """Return how many threads to start for one sweep; see mf_useful_threads."""
        check_threads(threads)
        return mf_useful_threads(&self.c, 0, threads)

    def sums(self, const double[::1] mixture not None, bint value=True, int hessian=0, int threads=1,
             bint coarse=False, float[::1] influence=None, const int32_t[::1] curved=None):
        """(value, gradient (C,), Hessian (C, C) or None) of sum_i c_i * -log(p_i . w), float64.

        `hessian`: 0 for none, 1 for that of all rows, a power of two for an estimate from one row in so many, scaled to
        the diagonal of all rows. `coarse`: sums within blocks of rows in the panels' own precision, about 1e-6 of the
        gradient, and no scaling. `influence` (n,) float32 receives max_k p_ik / (p_i . w) of each row, in a coarse
        sweep. `curved` (int32, ascending): the Hessian of all rows is computed over these columns only; its other
        entries are 0. Neither is for packed rows.
        """
        check_aligned(<size_t>&mixture[0])
        self.check_made(True)
        check_threads(threads)
        cdef Py_ssize_t C = self.n_cols
        cdef int failed
        if hessian < 0 or hessian & (hessian - 1):
            raise ValueError(f"hessian is {hessian}, expected 0 or a power of two")
        if mixture.shape[0] != C:
            raise ValueError(f"mixture has {mixture.shape[0]} shares for {C} columns")
        cdef mf_also also = mf_also(NULL, NULL, 0)
        if influence is not None or curved is not None:
            self.check_made(False)
        if influence is not None:
            check_shape(self.n_rows, 1, influence.shape[0], 1)
            check_aligned(<size_t>&influence[0], 4)
            if not coarse:
                raise ValueError("influence is for coarse sums")
            also.influence = &influence[0]
        if curved is not None:
            check_shape(max(1, curved.shape[0]), 1, curved.shape[0], 1)
            check_numbers(curved, C)
            check_ascending(curved)
            if hessian != 1:
                raise ValueError(f"hessian is {hessian}: over some columns, expected that of all rows (1)")
            also.curved, also.ncurved = &curved[0], curved.shape[0]
        total = np.empty(mf_slot(C, hessian))
        cdef double[::1] t = total
        with nogil:
            failed = mf_total_also(&self.c, &mixture[0], value, hessian, coarse, also, &t[0], threads)
        check_finished(failed, self.loglik)
        if not hessian:
            return t[0], total[1:], None
        return t[0], total[1:1 + C], total[1 + C:1 + C + C * C].reshape(C, C)

    cdef int check_problem(self, const double[::1] w, const double[::1] low, const double[::1] high,
                           int threads) except -1:
        """Raise unless the loops in C can start at w with these limits."""
        check_aligned(<size_t>&w[0] | <size_t>&low[0] | <size_t>&high[0])
        self.check_made(True)
        check_threads(threads)
        if not (self.c.panels and self.c.wide):
            raise ValueError("these rows are not packed in float64")
        check_shape(self.n_cols, self.n_cols, w.shape[0], self.n_cols)
        check_shape(self.n_cols, self.n_cols, low.shape[0], high.shape[0])
        return 0

    def settle(self, const double[::1] w not None, const double[::1] low not None, const double[::1] high not None,
               Rules rules not None, int threads=1):
        """Return shares (C,) after a few steps of expectation maximisation from w, for packed rows in float64."""
        self.check_problem(w, low, high, threads)
        cdef mf_problem problem = mf_problem(&self.c, &low[0], &high[0], 0.0, threads)
        cdef int failed, done
        cdef double no_gap = -np.inf
        out = np.array(w)
        cdef double[::1] o = out
        with nogil:
            failed = mf_settle(&problem, &rules.c, no_gap, &o[0], &done)
        check_finished(failed, self.loglik)
        return out

    def newton(self, const double[::1] w not None, const double[::1] low not None, const double[::1] high not None,
               Rules rules not None, double total, double tol, Py_ssize_t most, int threads=1, bint settle=False):
        """Minimise from shares w (C,) over caps and floors to a gap of `tol`; for packed rows in float64.

        `settle`: begin with steps of expectation maximisation, more than those of `settle` while they are quick.

        Returns the shares, value, gradient (C,), gap, Hessian (C, C) or None, number of steps, and the trace: a tuple
        (value, gap, seconds) for each step. `total` is the sum of the row weights, `most` the largest number of steps.
        """
        self.check_problem(w, low, high, threads)
        cdef mf_problem problem = mf_problem(&self.c, &low[0], &high[0], total, threads)
        cdef mf_found found
        cdef Py_ssize_t C = self.n_cols, i
        cdef int failed
        out = np.array(w)
        gradient = np.empty(C)
        hessian = np.empty((C, C))
        cdef double[::1] o = out, g = gradient
        cdef double[:, ::1] H = hessian
        with nogil:
            failed = mf_newton(&problem, &rules.c, tol, most, settle, &o[0], &g[0], &H[0, 0], &found)
        try:
            check_finished(failed, self.loglik)
            trace = [(found.trace[i].value, found.trace[i].gap, found.trace[i].seconds) for i in range(found.lines)]
        finally:
            free(found.trace)
        return out, found.value, gradient, found.gap, hessian if found.has_hessian else None, found.steps, trace

    def newton_many(self, const double[:, ::1] weight not None, const double[::1] w not None,
                    const double[::1] low not None, const double[::1] high not None, Rules rules not None, double tol,
                    Py_ssize_t most):
        """Minimise B times, each with its own row weights (B, n), as `newton` does, from the same shares w (C,).

        Returns shares (B, C), values (B,), gradients (B, C), gaps (B,) and numbers of steps (B,). The tolerance is
        multiplied by the sum of the weights, if that is above 1. One thread: the GIL is released, so that several can
        call this at a time.
        """
        self.check_problem(w, low, high, 1)
        cdef Py_ssize_t B = weight.shape[0], C = self.n_cols, n = self.n_rows, j, i
        check_aligned(<size_t>&weight[0, 0])
        check_shape(B, n, B, weight.shape[1])
        out = np.empty((B, C))
        gradients = np.empty((B, C))
        values = np.empty(B)
        gaps = np.empty(B)
        steps = np.empty(B, dtype=np.int64)
        if B == 0:
            return out, values, gradients, gaps, steps
        cdef double[:, ::1] o = out, g = gradients
        cdef double[::1] v = values, left = gaps, H = np.empty(C * C)
        cdef int64_t[::1] taken = steps
        cdef mf_rows rows = self.c
        cdef mf_problem problem = mf_problem(&rows, &low[0], &high[0], 0.0, 1)
        cdef mf_found found
        cdef double least, largest, total
        cdef int failed = 0
        with nogil:
            for j in range(B):
                least = largest = weight[j, 0]
                total = 0
                for i in range(n):
                    total += weight[j, i]
                    least = min(least, weight[j, i])
                    largest = max(largest, weight[j, i])
                rows.weight = &weight[j, 0]
                if least == largest:
                    rows.weight = NULL
                rows.scale = least if least == largest else total / n
                problem.total = total
                memcpy(&o[j, 0], &w[0], C * sizeof(double))
                failed = mf_newton(&problem, &rules.c, tol * max(1.0, total), most, 0, &o[j, 0], &g[j, 0], &H[0],
                                   &found)
                free(found.trace)
                if failed or mf_interrupted(1.0):
                    break
                v[j], left[j], taken[j] = found.value, found.gap, found.steps
        check_finished(failed, self.loglik)
        return out, values, gradients, gaps, steps

    def losses(self, const double[:, ::1] mixtures not None, int products=1, int threads=1):
        """Losses (M,) float64 of M candidate mixtures (M, C); +inf if a row has no mass."""
        check_aligned(<size_t>&mixtures[0, 0])
        self.check_made(True)
        check_threads(threads)
        cdef Py_ssize_t M = mixtures.shape[0], chunk_rows
        cdef Py_ssize_t chunks = mf_plan_chunks(self.n_rows, self.n_cols, 0, &chunk_rows)
        cdef Py_ssize_t step, first, last
        cdef int failed
        total = np.zeros(M)
        if mixtures.shape[1] != self.n_cols:
            raise ValueError(f"mixtures have {mixtures.shape[1]} shares for {self.n_cols} columns")
        if M == 0:
            return total
        threads = self.useful_threads(threads) if M < 64 else threads
        cdef double[::1] t = total
        step = max(threads, PARTIAL // M)
        cdef double[::1] p = np.empty(min(chunks, step) * M)
        for first in range(0, chunks, step):
            last = min(first + step, chunks)
            with nogil:
                failed = mf_losses(&self.c, &mixtures[0, 0], M, products, first, last, &p[0], threads)
                if not failed:
                    add_chunks(&t[0], &p[0], last - first, M)
            check_finished(failed, self.loglik)
        return total

    def gradients(self, const double[:, ::1] mixtures not None, bins=None, mult=None, int threads=1):
        """(M, C) gradients of M objectives, each at its own mixture, rows re-weighted by mult[j, bins[i]].

        mixtures (M, C) float64; bins (n,) int32; mult (M, B) float32; both None for plain gradients.
        One mixture for many objectives (1, C) costs little more than one gradient if rows of a bin are neighbours.
        """
        check_aligned(<size_t>&mixtures[0, 0])
        self.check_made(True)
        check_threads(threads)
        cdef Py_ssize_t M = mixtures.shape[0], C = self.n_cols, chunk_rows, nbins = 0
        cdef Py_ssize_t chunks = mf_plan_chunks(self.n_rows, C, 0, &chunk_rows)
        cdef Py_ssize_t step, first, last
        cdef const int32_t[::1] bins_view
        cdef const float[:, ::1] mult_view
        cdef const int32_t *bins_p = NULL
        cdef const float *mult_p = NULL
        cdef int failed = 0
        cdef bint shared = False
        if mixtures.shape[1] != C:
            raise ValueError(f"mixtures have {mixtures.shape[1]} shares for {C} columns")
        if (bins is None) != (mult is None):
            raise TypeError("bins and multiplicities go together: one of them is None")
        if bins is not None:
            bins_view = bins
            mult_view = mult
            check_shape(self.n_rows, 1, bins_view.shape[0], 1)
            bins_p = &bins_view[0]
            mult_p = &mult_view[0, 0]
            nbins = mult_view.shape[1]
            check_numbers(bins_view, nbins)
            check_aligned(<size_t>&mult_view[0, 0], 4)
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
        threads = self.useful_threads(threads) if M < 16 or shared else threads
        step = max(threads, PARTIAL // (M * C))
        cdef double[::1] p = np.empty(min(chunks, step) * M * C)
        for first in range(0, chunks, step):
            last = min(first + step, chunks)
            with nogil:
                failed = mf_gradients(&self.c, &mixtures[0, 0], M, shared, bins_p, mult_p, nbins, first, last,
                                      &p[0], threads)
                if not failed:
                    add_chunks(t, &p[0], last - first, M * C)
            check_finished(failed, self.loglik)
        return total


def scan(Rows rows not None, int threads=1):
    """(largest, smallest, lowest_top, has_nan) of a table in one sweep.

    Extremes of all elements, and the smallest of the rows' largest elements; NaN is left out of them.
    """
    rows.check_made(False)
    cdef Py_ssize_t chunk_rows, chunks = mf_plan_chunks(rows.n_rows, rows.n_cols, 0, &chunk_rows)
    cdef Py_ssize_t i
    cdef mf_extremes partial[128]  # the largest number of chunks
    cdef double largest = -np.inf, smallest = np.inf, lowest_top = np.inf
    cdef bint has_nan = False
    cdef int failed
    threads = rows.useful_threads(threads)
    with nogil:
        failed = mf_scan(&rows.c, 0, chunks, partial, threads)
    check_finished(failed, rows.loglik)
    for i in range(chunks):
        largest = max(largest, partial[i].largest)
        smallest = min(smallest, partial[i].smallest)
        lowest_top = min(lowest_top, partial[i].lowest_top)
        has_nan |= partial[i].has_nan != 0
    return largest, smallest, lowest_top, bool(has_nan)


def fingerprint(const uint8_t[::1] contents not None):
    """128 bytes that differ if the contents of an array do; see rows/fingerprint.h."""
    cdef uint32_t state[32]
    cdef const uint8_t *data = &contents[0] if contents.shape[0] else NULL
    cdef Py_ssize_t size = contents.shape[0]
    with nogil:
        mf_fingerprint(data, size, state)
    ended()
    return (<char *>state)[:sizeof(state)]


def resample(const uint32_t[:, ::1] bits not None, float[:, ::1] counts not None, Py_ssize_t first=0):
    """Sample `size` units with replacement, M times: counts (M, first ..) of each unit, from random bits (M, size)."""
    cdef Py_ssize_t m = bits.shape[0], size = bits.shape[1], stride = counts.shape[1]
    check_aligned(<size_t>&bits[0, 0] | <size_t>&counts[0, 0], 4)
    check_shape(m, m, m, counts.shape[0])
    if first < 0 or size > stride or first > stride - size:
        raise ValueError(f"first is {first}: {size} units do not fit in {stride} columns from there on")
    if m and size:
        with nogil:
            mf_resample(&bits[0, 0], m, size, &counts[0, first], stride)
        ended()


def by_influence(const float[::1] influence not None, Py_ssize_t count):
    """Indices (int64, ascending) of about `count` rows, sampled by their influence, and factors of their weights.

    Row i holds the interval of its influence on a line, and the rows at `count` evenly spaced points of the line are
    taken. None if the sum of the influence is not above 0 and finite.
    """
    cdef Py_ssize_t n = influence.shape[0], taken
    check_shape(max(1, n), 1, n, 1)
    check_aligned(<size_t>&influence[0], 4)
    cdef double total = np.sum(influence, dtype=np.float64)
    if not 1 <= count <= n:
        raise ValueError(f"count is {count}, expected 1 to {n} rows")
    if not 0.0 < total < float("inf"):
        return None
    index = np.empty(count + 1, dtype=np.int64)
    times = np.empty(count + 1)
    cdef int64_t[::1] i = index
    cdef double[::1] t = times
    with nogil:
        taken = mf_by_influence(&influence[0], n, total / count, count + 1, &i[0], &t[0])
    ended()
    return index[:taken].copy(), times[:taken].copy()
