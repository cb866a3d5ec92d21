# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The stages of a blended stream, and arithmetic on exact shares. The mathematics is in `stream/`; see `blend.h`."""

from libc.stdint cimport int32_t, int64_t, uint64_t

import numpy as np

include "shared/boundary.pxi"

cdef extern from "stream/blend.h" nogil:
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
        const int64_t *gain_first
        const int64_t *gain_at
        const int64_t *gain_by
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


cdef int check_memory(int failed) except -1:
    ended()
    if failed:
        raise MemoryError("mixfast: no memory for a stage")
    return 0


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
            with nogil:
                reach = mf_tree_shape(n, &middle[0], self.c.split, &parent[0])
            check_memory(reach < 0)
        else:
            self.parent = shape.parent
            self.split[:] = shape.split
            parent = self.parent
        self.c.parent = &parent[0]
        with nogil:
            reach = mf_tree_fill(&self.c, &share[0], slope_p, exact_p)
        check_memory(reach < 0)
        self.bound = reach / 8589934592.0  # half of it, over 2^32

    def counts(self, int64_t n):
        """Counts (n,) of the leaves when the root's is `n`."""
        found = np.empty(self.c.leaves, dtype=np.int64)
        cdef int64_t[::1] f = found
        cdef int failed
        with nogil:
            failed = mf_tree_counts(&self.c, n, &f[0])
        check_memory(failed)
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
        with nogil:
            for j in range(m):
                if mf_interrupted(1 << 12):
                    break
                f[j] = mf_tree_when(&self.c, leaf[j], count[j])
        ended()
        return found

    def set_events(self, const int64_t[::1] at, const int32_t[::1] leaf, const int64_t[::1] lag,
                   const int64_t[::1] first, const int64_t[::1] gain_at, const int64_t[::1] gain_by):
        """Events (E,) as in blend.h, and what leaf k gains by them: gain_by behind gain_at, from first[k] on."""
        check_shape(at.shape[0], self.c.leaves + 1, leaf.shape[0], first.shape[0])
        check_shape(at.shape[0], gain_at.shape[0], lag.shape[0], gain_by.shape[0])
        self.memory = (np.asarray(at), np.asarray(leaf), np.asarray(lag), np.asarray(first), np.asarray(gain_at),
                       np.asarray(gain_by))
        self.c.events = at.shape[0]
        if self.c.events:
            self.c.event_at, self.c.event_leaf, self.c.event_lag = &at[0], &leaf[0], &lag[0]
            self.c.gain_first, self.c.gain_at, self.c.gain_by = &first[0], &gain_at[0], &gain_by[0]

    def at(self, const uint64_t[:, ::1] table, bint shuffle, int64_t i):
        """(domain, index, epoch) of sample i."""
        cdef int64_t found[3]
        mf_blend_at(&self.c, <const mf_domain *>&table[0, 0], shuffle, i, 1, 1, found, found + 1, found + 2)
        ended()
        return found[0], found[1], found[2]

    def fill(self, const uint64_t[:, ::1] table, bint shuffle, int64_t first, int64_t step, int64_t[::1] domain,
             int64_t[::1] index, int64_t[::1] epoch):
        """Samples first, first + step, ... into three arrays of equal length."""
        cdef Py_ssize_t n = domain.shape[0]
        cdef int failed = 0
        cdef const mf_domain *t = <const mf_domain *>&table[0, 0]
        check_shape(n, n, index.shape[0], epoch.shape[0])
        # Setting up all nodes costs about as much as a quarter as many ways down the tree.
        cdef bint apart = step != 1 or 4 * n < self.c.leaves
        if n == 0:
            return
        with nogil:
            if apart:
                mf_blend_at(&self.c, t, shuffle, first, step, n, &domain[0], &index[0], &epoch[0])
            else:
                failed = mf_blend_run(&self.c, t, shuffle, first, n, &domain[0], &index[0], &epoch[0])
        check_memory(failed)
