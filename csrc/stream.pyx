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
    int MF_BLEND_RANGE
    int mf_blend_at(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, int64_t step,
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


cdef int64_t LONGEST = <int64_t>1 << 60  # the largest number of a sample
cdef int64_t NEVER = <int64_t>1 << 62  # shares are fractions of this, too
cdef int64_t RAMP = <int64_t>1 << 37  # samples of a ramp


cdef int check_between(int64_t value, int64_t low, int64_t high, str what) except -1:
    """Raise ValueError unless the arithmetic of the tree is exact for an argument."""
    if value < low or value > high:
        raise ValueError(f"{what} is {value}, expected {low} to {high}")
    return 0


cdef int check_all(const int64_t[::1] values, int64_t low, int64_t high, str what) except -1:
    cdef Py_ssize_t k
    check_aligned(<size_t>&values[0])
    for k in range(values.shape[0]):
        check_between(values[k], low, high, what)
    return 0


cdef int check_steps(int64_t step, int64_t steps, bint ramp) except -1:
    """Raise ValueError unless a ramp has steps, of at most 2^37 samples together, and a constant stage has none."""
    check_between(steps, 1 if ramp else 0, RAMP if ramp else 0, "steps")
    check_between(step, 1 if ramp else 0, RAMP // steps if ramp else 0, "step")
    return 0


def domain_table(const int64_t[::1] sizes not None, uint64_t seed):
    """Return the table that `Stage` takes: sizes (K,) of domains, 0 for endless ones, and keys of their orders."""
    cdef Py_ssize_t K = sizes.shape[0], k
    check_aligned(<size_t>&sizes[0])
    table = np.empty((K, 2), dtype=np.uint64)
    cdef uint64_t[:, ::1] t = table
    check_all(sizes, 0, LONGEST, "the size of a domain")
    for k in range(K):
        t[k, 0] = <uint64_t>sizes[k]
        t[k, 1] = mf_mix(mf_mix(seed) + 0x9e3779b97f4a7c15u * <uint64_t>(k + 1))
    return table


def blend_shares(const int64_t[::1] v not None):
    """Return integers (n,) divided by their sum, in units of 2^-62; the results sum to 2^62 exactly."""
    check_aligned(<size_t>&v[0])
    check_all(v, 0, NEVER, "a share")
    cdef double total = np.sum(v, dtype=np.float64)
    if not 0 < total <= 4.0 * NEVER:
        raise ValueError(f"the sum of the shares is {total:.3g}, expected more than 0 and at most 2^64")
    out = np.empty(v.shape[0], dtype=np.int64)
    cdef int64_t[::1] o = out
    mf_tree_shares(v.shape[0], &v[0], &o[0])
    return out


def blend_slopes(const int64_t[::1] a not None, const int64_t[::1] b not None, int64_t step, int64_t length):
    """Return the slopes (n,) of straight lines from `a` to `b` over `length` samples, for steps of `step` samples."""
    check_aligned(<size_t>&a[0] | <size_t>&b[0])
    check_shape(a.shape[0], 1, b.shape[0], 1)
    check_all(a, 0, NEVER, "a share")
    check_all(b, 0, NEVER, "a share")
    check_between(length, 1, RAMP, "length")
    check_between(step, 1, length, "step")
    out = np.empty(a.shape[0], dtype=np.int64)
    cdef int64_t[::1] o = out
    mf_tree_slopes(a.shape[0], &a[0], &b[0], step, length, &o[0])
    return out


def blend_advance(const int64_t[::1] a not None, slope, int64_t step, int64_t steps, int64_t length,
                  int64_t[::1] whole not None, int64_t[::1] frac not None):
    """Advance exact counts (n,), whole + frac over 2^62, by `length` samples, in place."""
    cdef const int64_t[::1] view
    cdef const int64_t *c = NULL
    check_aligned(<size_t>&a[0] | <size_t>&whole[0] | <size_t>&frac[0])
    check_shape(a.shape[0], a.shape[0], whole.shape[0], frac.shape[0])
    check_all(a, 0, NEVER, "a share")
    check_all(whole, 0, LONGEST, "a count")
    check_all(frac, 0, NEVER - 1, "a fraction of a count")
    check_between(length, 0, LONGEST, "length")
    check_steps(step, steps, slope is not None)
    if slope is not None:
        view = slope
        check_shape(a.shape[0], 1, view.shape[0], 1)
        check_all(view, -NEVER // (2 * steps), NEVER // (2 * steps), "a slope")
        c = &view[0]
    mf_tree_advance(a.shape[0], &a[0], c, step, steps, length, &whole[0], &frac[0])


def blend_events(int64_t start, int64_t end, const int64_t[::1] skip not None, const int64_t[::1] place not None,
                 const int64_t[::1] turn not None, const int64_t[::1] latest not None):
    """Return events (6, E) from skipped samples (n,) and turns (n,); the columns are those of blend.h."""
    cdef Py_ssize_t n = skip.shape[0], made
    check_aligned(<size_t>&skip[0] | <size_t>&place[0] | <size_t>&turn[0] | <size_t>&latest[0])
    check_shape(n, n, place.shape[0], turn.shape[0])
    check_shape(n, n, latest.shape[0], n)
    check_between(end, 0, LONGEST, "end")
    check_between(start, 0, end, "start")
    check_all(place, 0, NEVER, "the place of a sample")
    check_all(latest, 0, NEVER, "the latest sample for a turn")
    out = np.empty((6, 2 * n), dtype=np.int64)
    cdef int64_t[:, ::1] o = out
    made = mf_tree_events(start, end, n, &skip[0], &place[0], &turn[0], &latest[0], &o[0, 0])
    return out[:, :made]


cdef int check_stage(int failed) except -1:
    """Raise after a call that a signal ended, or that refused its arguments."""
    ended()
    if failed == MF_BLEND_RANGE:
        raise ValueError("a count or the size of a domain is below 0 or above 2^60")
    if failed:
        raise MemoryError("mixfast: no memory for a stage")
    return 0


cdef int check_shares(const int64_t[::1] share, slope, int64_t steps) except -1:
    """Raise ValueError unless every leaf has a share in every step, and the shares sum to 1 at most."""
    cdef const int64_t[::1] view
    cdef Py_ssize_t n = share.shape[0], k
    cdef int64_t u, reach, by = 0
    cdef double total
    if slope is not None:
        view = slope
        check_shape(n, 1, view.shape[0], 1)
        reach = NEVER // (2 * steps)
        check_all(view, -reach, reach, "a slope")
    check_all(share, 0, NEVER, "a share")
    for u in (0, max(steps - 1, 0)):
        total = 0
        for k in range(n):
            by = view[k] * (2 * u + 1) if steps else 0
            check_between(share[k] + by, 1, NEVER, "a share")
            total += share[k] + by
        if total > NEVER * (1 + 1e-9):
            raise ValueError(f"the sum of the shares is {total:.6g}, expected at most 2^62")
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
    cdef Py_ssize_t domains  # one more than the largest number of a domain
    cdef readonly object domain, base, events
    cdef object split, slope, parent, memory
    cdef readonly double bound

    def __init__(self, int64_t start, int64_t origin, const int32_t[::1] domain not None,
                 const int64_t[::1] share not None, slope=None, exact=None, int64_t step=0, int64_t steps=0,
                 Stage shape=None):
        cdef Py_ssize_t n = domain.shape[0]
        cdef const int64_t[::1] view
        cdef const int64_t *slope_p = NULL
        cdef const int64_t *exact_p = NULL
        cdef int64_t[::1] middle
        cdef int32_t[::1] parent
        cdef int64_t reach
        check_aligned(<size_t>&share[0])
        check_aligned(<size_t>&domain[0], 4)
        if self.c.leaves:
            raise TypeError("Stage.__init__ can be called once only: make a new object")
        check_shape(max(1, n), 1, n, 1)
        check_shape(n, 1, share.shape[0], 1)
        check_between(start, 0, LONGEST, "start")
        check_between(origin, -LONGEST, LONGEST, "origin")
        check_steps(step, steps, slope is not None)
        check_shares(share, slope, steps)
        self.domain = np.array(domain)
        self.domain.setflags(write=False)
        check_between(self.domain.min(), 0, self.domain.max(), "the number of a domain")
        self.domains = self.domain.max() + 1
        self.base = np.zeros(n, dtype=np.int64)
        self.split = np.zeros(max(n - 1, 1) * sizeof(mf_split), dtype=np.uint8)
        self.c.split = <mf_split *>address(self.split)
        if steps:
            self.slope = np.empty(max(n - 1, 1) * sizeof(mf_slope), dtype=np.uint8)
            self.c.slope = <mf_slope *>address(self.slope)
        self.c.domain = <const int32_t *>address(self.domain)
        self.c.base = <const int64_t *>address(self.base)
        self.c.start, self.c.origin, self.c.step, self.c.steps = start, origin, step, steps
        weight = np.array(share)
        if slope is not None:
            view = slope
            slope_p = &view[0]
            weight += steps * np.asarray(slope)
        if exact is not None:
            view = exact
            check_shape(n, 1, view.shape[0], 1)
            check_all(view, 0, NEVER - 1, "a fraction of a count")
            exact_p = &view[0]
        self.c.leaves = n
        if shape is None:
            middle = weight
            self.parent = np.full(2 * n - 1, -1, dtype=np.int32)
            parent = self.parent
            with nogil:
                reach = mf_tree_shape(n, &middle[0], self.c.split, &parent[0])
            check_stage(reach < 0)
        else:
            check_shape(n, 1, shape.c.leaves, 1)
            self.parent = shape.parent
            self.split[:] = shape.split
            parent = self.parent
        self.c.parent = &parent[0]
        with nogil:
            reach = mf_tree_fill(&self.c, &share[0], slope_p, exact_p)
        check_stage(reach < 0)
        self.bound = reach / 8589934592.0  # half of it, over 2^32

    def counts(self, int64_t n):
        """Return the counts (n,) of the leaves when the count of the root is `n`."""
        self.check_made()
        check_between(n, -2 * LONGEST, 2 * LONGEST, "a count")
        found = np.empty(self.c.leaves, dtype=np.int64)
        cdef int64_t[::1] f = found
        cdef int failed
        with nogil:
            failed = mf_tree_counts(&self.c, n, &f[0])
        check_stage(failed)
        return found

    def when(self, const int64_t[::1] leaf not None, const int64_t[::1] count not None):
        """Return the samples (m,) at which each leaf gets its count-th sample of the tree; 2^62 for never."""
        cdef Py_ssize_t m = leaf.shape[0], j
        check_aligned(<size_t>&leaf[0] | <size_t>&count[0])
        self.check_made()
        check_shape(m, 1, count.shape[0], 1)
        check_all(count, -NEVER, NEVER, "a count")
        found = np.empty(m, dtype=np.int64)
        cdef int64_t[::1] f = found
        check_all(leaf, 0, self.c.leaves - 1, "a leaf")
        with nogil:
            for j in range(m):
                if mf_interrupted(1 << 12):
                    break
                f[j] = mf_tree_when(&self.c, leaf[j], count[j])
        ended()
        return found

    def set_events(self, const int64_t[::1] at not None, const int32_t[::1] leaf not None,
                   const int64_t[::1] lag not None, const int64_t[::1] first not None,
                   const int64_t[::1] gain_at not None, const int64_t[::1] gain_by not None):
        """Set events (E,) as in blend.h; the gains of leaf k, `gain_by` after `gain_at`, begin at first[k]."""
        check_aligned(<size_t>&at[0] | <size_t>&lag[0] | <size_t>&first[0] | <size_t>&gain_at[0] |
                      <size_t>&gain_by[0])
        check_aligned(<size_t>&leaf[0], 4)
        self.check_made()
        if self.memory is not None:
            raise TypeError("set_events can be called once only: make a new stage")
        cdef Py_ssize_t E = at.shape[0], e
        check_shape(E, self.c.leaves + 1, leaf.shape[0], first.shape[0])
        check_shape(E, gain_at.shape[0], lag.shape[0], gain_by.shape[0])
        for e in range(E):
            # An extra turn takes a sample of its own, so the next event comes later.
            least = self.c.start if e == 0 else at[e - 1] + (leaf[e - 1] >= 0)
            check_between(at[e], least, LONGEST, "the sample of an event")
            check_between(leaf[e], -1, self.c.leaves - 1, "the leaf of an event")
        check_all(lag, -E, E, "the lag of an event")
        check_all(gain_by, -1, 1, "a gain")
        check_between(first[0], 0, 0, "the first gain")
        for e in range(self.c.leaves):
            check_between(first[e + 1], first[e], gain_at.shape[0], "the first gain of a leaf")
        self.memory = (np.asarray(at), np.asarray(leaf), np.asarray(lag), np.asarray(first), np.asarray(gain_at),
                       np.asarray(gain_by))
        if E:
            self.c.event_at, self.c.event_leaf, self.c.event_lag = &at[0], &leaf[0], &lag[0]
            self.c.gain_first, self.c.gain_at, self.c.gain_by = &first[0], &gain_at[0], &gain_by[0]
        self.c.events = E

    cdef int check_made(self) except -1:
        if self.c.leaves < 1 or self.c.domain == NULL:
            raise ValueError("this stage has no domains")
        return 0

    cdef int check_samples(self, const uint64_t[:, ::1] table, int64_t first, int64_t step, Py_ssize_t n) except -1:
        """Raise ValueError unless the samples belong to this stage and the table has a row for each domain."""
        self.check_made()
        if table.shape[0] < self.domains or table.shape[1] != 2:
            raise ValueError(f"the table of domains has shape {(table.shape[0], table.shape[1])}, "
                             f"expected ({self.domains} or more, 2)")
        check_between(step, 1, LONGEST, "step")
        check_between(first, self.c.start, LONGEST, "a sample")
        check_between(n, 0, (LONGEST - first) // step + 1, "the number of samples")
        return 0

    def at(self, const uint64_t[:, ::1] table not None, bint shuffle, int64_t i):
        """Return (domain, index, epoch) of sample i."""
        cdef int64_t found[3]
        check_aligned(<size_t>&table[0, 0])
        self.check_samples(table, i, 1, 1)
        cdef const mf_domain *t = <const mf_domain *>&table[0, 0]
        check_stage(mf_blend_at(&self.c, t, shuffle, i, 1, 1, found, found + 1, found + 2))
        return found[0], found[1], found[2]

    def fill(self, const uint64_t[:, ::1] table not None, bint shuffle, int64_t first, int64_t step,
             int64_t[::1] domain not None, int64_t[::1] index not None, int64_t[::1] epoch not None):
        """Write samples first, first + step, ... into three arrays of equal length."""
        cdef Py_ssize_t n = domain.shape[0]
        cdef int failed
        cdef const mf_domain *t = <const mf_domain *>&table[0, 0]
        check_aligned(<size_t>&table[0, 0] | <size_t>&domain[0] | <size_t>&index[0] | <size_t>&epoch[0])
        check_shape(n, n, index.shape[0], epoch.shape[0])
        self.check_samples(table, first, step, n)
        # Initialising all n nodes costs about as much as n / 4 paths down the tree.
        cdef bint apart = step != 1 or 4 * n < self.c.leaves
        if n == 0:
            return
        with nogil:
            if apart:
                failed = mf_blend_at(&self.c, t, shuffle, first, step, n, &domain[0], &index[0], &epoch[0])
            else:
                failed = mf_blend_run(&self.c, t, shuffle, first, n, &domain[0], &index[0], &epoch[0])
        check_stage(failed)
