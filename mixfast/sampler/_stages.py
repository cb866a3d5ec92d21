"""From a schedule to stages: where shares change, where domains run out, and what is carried from stage to stage.

Each stage is a tree over the domains that have a share in it (`csrc/blend.h` says what it does and proves its bound). What
this file adds is the passage from one stage to the next. The new tree is set up with the exact counts of all stages before,
so that it hands out samples as if it had always been there: rounding does not add up. Where a domain has had one sample
more than the new tree would have given it, its next sample of the tree is passed over; where it has had one less, it has a
turn of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import core
from mixfast.sampler._numbers import LONGEST, NEVER, Integers
from mixfast.sampler._schedule import MixtureSchedule

# Proved for constant shares; a ramp is cut until its trees keep it as well.
BOUND = 1.5
# How far a domain may fall behind before it has a turn of its own after a change of shares: less makes all others wait
PATIENCE = 1.25


@dataclass(frozen=True)
class Line:
    """Shares of all domains over 2^62 from sample ``start`` on: ``share + slope (2u + 1)`` in step u, or constant."""

    start: int
    share: Integers
    slope: Integers | None = None
    step: int = 0
    steps: int = 0

    def middle(self) -> Integers:
        """Mean shares, by which the tree is built."""
        return self.share if self.slope is None else self.share + self.steps * self.slope

    def later(self, step: int, steps: int) -> Line:
        """Return the part of a ramp that begins at one of its steps."""
        if self.slope is None:
            return self
        share = self.share + 2 * step * self.slope
        if steps == 1:
            return Line(self.start + step * self.step, share + self.slope)
        return Line(self.start + step * self.step, share, self.slope, self.step, steps)

    def at(self, sample: int) -> Integers:
        """Shares in the step of a sample."""
        if self.slope is None:
            return self.share
        u = min((sample - self.start) // self.step, self.steps - 1)
        return self.share + self.slope * (2 * u + 1)


def ramp(start: int, stop: int, begin: Integers, end: Integers) -> Line:
    """Return the line from shares ``begin`` at ``start`` to ``end`` at ``stop``, in steps of constant shares.

    Steps are a quarter of the root of the length: the line's exact counts are then met within 1/128 of a sample, and the
    rounding of the slopes moves them by less than that on ramps of up to 2^36 samples.
    """
    length = stop - start
    step = max(1, isqrt(length) // 4)
    steps = length // step
    slope = core.blend_slopes(begin, end, step, length)
    # Rounding towards 0 keeps every share positive; what is lacking goes to those that stay largest.
    lacking = -int(slope.sum())
    smallest = np.minimum(begin, end)
    for k in np.argsort(-smallest, kind="stable")[: abs(lacking)]:
        if smallest[k] > 4 * steps:
            slope[k] += 1 if lacking > 0 else -1
    # A share that goes from 0 to less than 2^-40 would be 0 in some steps, and a tree has no place for that.
    share = np.where((begin + slope > 0) & (begin + (2 * steps - 1) * slope > 0), begin, 0)
    return Line(start, share, np.where(share + slope > 0, slope, 0), step, steps)


@dataclass
class Counts:
    """Samples of all domains (K,) before some sample: as drawn, and exact, ``whole + part / 2^62``."""

    drawn: Integers
    whole: Integers
    part: Integers


@dataclass(frozen=True)
class Events:
    """What a stage does to work off what the one before it left unbalanced, in the order of the samples.

    At sample ``at`` the domain ``gains`` has a turn the tree does not give it, or (-1) the tree's sample in this place,
    one of ``skips``, is passed over. From then on the tree is ``lag`` samples behind; its samples from ``own`` on, counted
    as if there were no events, are meant.
    """

    at: Integers
    gains: Integers
    skips: Integers
    lag: Integers
    own: Integers


@dataclass
class Stage:
    """A compiled stage with what is needed to leave it again."""

    start: int
    core: Any
    drawn: Integers
    root: int
    events: Events | None = None

    def counts(self, sample: int) -> Integers:
        """Samples of all domains (K,) drawn before a sample of this stage, in the whole stream."""
        found = self.drawn.copy()
        lag = 0
        if self.events is not None:
            # A sample passed over in the place of `sample` comes before it.
            past = self.events.at < sample + (self.events.gains < 0)
            lag = int((self.events.gains[past] >= 0).sum() - (self.events.gains[past] < 0).sum())
        found[self.core.domain] = self.core.base + self.core.counts(sample - self.start + self.root - lag)
        if self.events is not None:
            gains, skips = self.events.gains[past], self.events.skips[past]
            np.add.at(found, gains[gains >= 0], 1)
            np.add.at(found, skips[skips >= 0], -1)
        return found

    def when(self, domains: Integers, count: Integers) -> Integers:
        """Samples (m,) at which domains of this stage have their count-th sample, which they have not had before it."""
        leaves = np.empty(len(self.drawn), dtype=np.int64)
        leaves[self.core.domain] = np.arange(len(self.core.domain))
        leaf = leaves[domains]
        base = self.core.base[leaf]
        events = self.events
        if events is None:
            return self.core.when(leaf, count - base)
        # A domain that was ahead is passed over at its first samples: its count is the tree's from then on.
        skipped = np.bincount(events.skips[events.skips >= 0], minlength=len(self.drawn))[domains]
        found = self._at(self.core.when(leaf, count - base + skipped))
        gaining = np.zeros(len(self.drawn), dtype=bool)
        gaining[events.gains[events.gains >= 0]] = True
        for j in np.flatnonzero(gaining[domains]):
            # One that was behind gets its count-th with what it has gained so far: the first of the ways to reach it.
            gained = events.at[events.gains == domains[j]]
            tree = self.core.when(np.full(len(gained), leaf[j]), count[j] - base[j] - np.arange(1, len(gained) + 1))
            found[j] = min(found[j], int(np.maximum(self._at(tree), gained).min()))
        return found

    def _at(self, own: Integers) -> Integers:
        """Samples of the stream that samples of the tree are."""
        if self.events is None:
            return own
        lag = np.concatenate([[0], self.events.lag])[np.searchsorted(self.events.own, own, side="right")]
        return np.where(own < NEVER, own + lag, own)


def leave(stage: Stage, line: Line, stop: int, counts: Counts) -> None:
    """Move the counts on from the start of a stage, which has the shares of ``line``, to ``stop``."""
    counts.drawn = stage.counts(stop)
    core.blend_advance(line.share, line.slope, line.step, line.steps, stop - stage.start, counts.whole, counts.part)


def _tree(line: Line, counts: Counts, last: Stage | None) -> Any:
    """Return the tree of a line; that of the stage before, with new shares, where it keeps the bound: it has less to mend."""
    middle = line.middle()
    domains = np.flatnonzero(middle)
    if last is not None and len(domains) == len(last.core.domain) and middle[last.core.domain].all():
        tree = _filled(line, last.core.domain, counts, last.core)
        if tree.bound <= BOUND:
            return tree
    order = domains[np.argsort(-middle[domains], kind="stable")].astype(np.int32)
    return _filled(line, order, counts, None)


def _filled(line: Line, order: NDArray[np.int32], counts: Counts, shape: Any) -> Any:
    slope = None if line.slope is None else line.slope[order]
    root = int((counts.drawn[order] - counts.whole[order]).sum())
    part = counts.part[order] if line.start else None
    return core.Stage(line.start, root, order, line.share[order], slope, part, line.step, line.steps, shape)


def _enter(line: Line, tree: Any, counts: Counts) -> Stage:
    """Set a tree to what has been drawn before it, and plan how it is to be worked off."""
    order = tree.domain
    ahead = counts.drawn[order] - counts.whole[order]
    root = int(ahead.sum())
    stage = Stage(line.start, tree, counts.drawn.copy(), root)
    if line.start == 0:
        return stage
    own = tree.counts(root)
    tree.base[:] = counts.drawn[order] - own
    more = ahead - own
    if not more.any():
        return stage
    # The tree's samples of those that are ahead of it are passed over.
    skips = np.repeat(np.flatnonzero(more > 0), more[more > 0])
    which = np.arange(len(skips)) - np.searchsorted(skips, skips) + 1
    places = tree.when(skips, own[skips] + which)
    by_place = np.argsort(places, kind="stable")
    skips, places = skips[by_place], places[by_place]
    # Those that are behind it have as many turns: at the same places, or before that where they would be too far behind.
    # While a turn comes before its place, all others wait together, each as much as its share.
    takes = np.repeat(np.flatnonzero(more < 0), -more[more < 0])
    off = ahead - np.ldexp(counts.part[order].astype(np.float64), -62)
    wait = (PATIENCE + off) / np.ldexp(line.at(line.start)[order].astype(np.float64), -62)
    takes = takes[np.argsort(wait[takes], kind="stable")]
    latest = line.start + np.clip(np.floor(wait[takes]), 0, float(LONGEST)).astype(np.int64)
    _set_events(stage, skips, places, takes, latest)
    return stage


def _set_events(stage: Stage, skips: Integers, places: Integers, takes: Integers, latest: Integers) -> None:
    """Merge passed-over samples of the tree, by place, with turns, by the latest sample for each, both (n,)."""
    at, gains, skipped, lags, own, touch = found = core.blend_events(stage.start, LONGEST, skips, places, takes, latest)
    if not found.size:  # all of them come after the last sample that can be counted
        return
    order = stage.core.domain.astype(np.int64)
    named = np.append(order, -1)
    stage.events = Events(at, named[gains], named[skipped], lags, own)
    touched = np.maximum(gains, skipped)
    by_leaf = np.argsort(touched, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(touched, minlength=len(order)))])
    by = np.where(gains >= 0, 1, -1)
    lags = np.ascontiguousarray(lags)
    stage.core.set_events(np.ascontiguousarray(at), gains.astype(np.int32), lags, first, touch[by_leaf], by[by_leaf])


class Plan:
    """The stages of a schedule, up to the end of the stream if it has one.

    ``caps`` (K,) are samples each domain may be drawn for, 2^62 for any number. ``redistribute``: a domain that has
    reached its cap leaves; otherwise the stream ends before the sample that would exceed one, and ``spent`` is its domain.
    """

    def __init__(self, schedule: MixtureSchedule, caps: Integers, redistribute: bool, length: int | None) -> None:
        self.caps = caps
        self.redistribute = redistribute
        self.limit = LONGEST if length is None else length
        self.end: int | None = None
        self.spent = -1
        self.stages: list[Stage] = []
        zeros = np.zeros(len(caps), dtype=np.int64)
        self.counts = Counts(zeros, zeros.copy(), zeros.copy())
        self._left = np.zeros(len(caps), dtype=bool)
        self.left: list[tuple[int, int]] = []  # who has left, and from which sample on
        shares = zeros
        for j, change in enumerate(schedule.changes):
            after = schedule.changes[j + 1].start if j + 1 < len(schedule.changes) else self.limit
            before, shares = shares, schedule.shares(change)
            if change.stop is None:
                self._constant(change.start, after, shares)
            else:
                self._ramp(change.start, change.stop, after, before, shares)
                self._constant(change.stop, after, shares)
        self.starts = [stage.start for stage in self.stages]

    def _constant(self, start: int, stop: int, shares: Integers) -> None:
        while start < min(stop, self.limit) and self.end is None:
            present = self._present(start, shares)
            if present is None:
                return
            start = self._run(Line(start, present), min(stop, self.limit))

    def _ramp(self, start: int, end: int, stop: int, before: Integers, shares: Integers) -> None:
        stop = min(stop, end, self.limit)
        while start < stop and self.end is None:
            # A share that is 0 at one end only is there all along the ramp: whoever has left is left out at both.
            now, then = self._without(before), self._without(shares)
            if now is None and then is None:
                self.end, self.spent = start, -1
                return
            now, then = (then if now is None else now), (now if then is None else then)
            line = ramp(start, end, now, then)  # type: ignore[arg-type]
            start = self._run(line, stop)
            before = line.at(min(start, end - 1))

    def _without(self, shares: Integers) -> Integers | None:
        shares = np.where(self._left, 0, shares)
        return core.blend_shares(shares) if shares.any() else None

    def _present(self, start: int, shares: Integers) -> Integers | None:
        """Shares of those that are not used up; the stream ends where nobody is left."""
        if not self._left.any():
            return shares
        found = self._without(shares)
        if found is None:
            self.end, self.spent = start, -1
        return found

    def _run(self, line: Line, stop: int) -> int:
        """Append the stages of a line up to ``stop``, or to where a domain has had all it may give; return where."""
        todo = [(0, max(line.steps, 1))]
        while todo:
            first, until = todo.pop()
            part = line.later(first, until - first)
            if part.start >= stop:
                break
            tree = _tree(part, self.counts, self.stages[-1] if self.stages else None)
            if tree.bound > BOUND and part.steps > 1:
                middle = (first + until) // 2
                todo += [(middle, until), (first, middle)]
                continue
            stage = _enter(part, tree, self.counts)
            self.stages.append(stage)
            end = stop if until >= line.steps else min(stop, line.start + until * line.step)
            at, domain = self._spent(stage, part, end)
            if domain < 0:
                if end < self.limit:
                    leave(stage, part, end, self.counts)
                continue
            if not self.redistribute:
                self.end, self.spent = at, domain
                return at
            self._left[domain] = True
            self.left.append((at + 1, domain))
            leave(stage, part, at + 1, self.counts)
            return at + 1
        return stop

    def _spent(self, stage: Stage, line: Line, stop: int) -> tuple[int, int]:
        """Return the sample before ``stop`` at which a domain first has its last sample (or would exceed it), and which."""
        domains = stage.core.domain.astype(np.int64)
        domains = domains[self.caps[domains] < NEVER]
        if not len(domains):
            return stop, -1
        count = self.caps[domains] + (0 if self.redistribute else 1)
        # The way up the tree is long. One domain is asked for, the first as far as its share tells, then those that have
        # come as far by that sample.
        pace = (count - stage.drawn[domains]) / np.maximum(line.at(line.start)[domains], 1)
        guess = int(pace.argmin())
        until = min(int(stage.when(domains[guess : guess + 1], count[guess : guess + 1])[0]) + 1, stop)
        near = stage.counts(until)[domains] >= count
        if not near.any():
            return stop, -1
        domains, at = domains[near], stage.when(domains[near], count[near])
        first = int(at.argmin())
        return int(at[first]), int(domains[first])
