"""Stage: a part of the stream with one tree, and the transition from the stage before.

`csrc/stream/blend.h` describes how a tree distributes samples and proves its bound. A new tree starts from the exact counts of all
stages before it, as if it had been used from the first sample, so rounding errors do not add up. A domain that has had one sample
more than the new tree would have given it is skipped at its next sample of the tree. A domain that has had one less gets an extra
sample. Both are events of the stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import stream
from mixfast.sampler._line import Line
from mixfast.sampler._numbers import LONGEST, NEVER, SHARE_BITS, Integers

# Maximum deviation of a domain from its exact share, in samples: proved for constant shares; ramps are cut until their trees keep it.
BOUND = 1.5
# Samples by which a domain may fall behind after a change of shares before it gets an extra one. A smaller number
# would delay all other domains.
_PATIENCE = 1.25


@dataclass
class Counts:
    """Counts of all domains (K,) before a sample: those of the stream, and the exact ones, ``whole + part / 2^62``."""

    sampled: Integers
    whole: Integers
    part: Integers


@dataclass(frozen=True)
class Events:
    """Events (E,) of a stage in order: samples that correct the imbalance left by the stage before.

    At sample ``at`` either the domain ``gains`` gets a sample that is not the tree's (``skips`` is -1), or the tree's sample
    at this position, which belongs to the domain ``skips``, is skipped (``gains`` is -1). From then on the tree is ``lag``
    samples behind the stream. This holds for the tree's samples from ``own`` on, counted as without events.
    """

    at: Integers
    gains: Integers
    skips: Integers
    lag: Integers
    own: Integers


_NO_EVENTS = Events(*np.zeros((5, 0), dtype=np.int64))


@dataclass
class Stage:
    """A tree from a start in the stream on, with the samples (K,) before the start and the count of its root there."""

    start: int
    tree: stream.Stage
    sampled: Integers
    root: int
    events: Events = _NO_EVENTS

    def counts(self, sample: int) -> Integers:
        """Return the samples of all domains (K,) before a sample of this stage, in the whole stream."""
        found = self.sampled.copy()
        own, events = sample - self.start + self.root, self.events
        if not len(events.at):
            found[self.tree.domain] = self.tree.base + self.tree.counts(own)
            return found
        # A sample of the tree that is skipped at `sample` counts as before it.
        past = events.at < sample + (events.gains < 0)
        gains, skips = events.gains[past], events.skips[past]
        gains, skips = gains[gains >= 0], skips[skips >= 0]
        found[self.tree.domain] = self.tree.base + self.tree.counts(own - (len(gains) - len(skips)))
        np.add.at(found, gains, 1)
        np.add.at(found, skips, -1)
        return found

    def when(self, domains: Integers, count: Integers) -> Integers:
        """Return the samples (m,) at which domains of this stage have their count-th sample; none has had it before the stage."""
        leaves = np.empty(len(self.sampled), dtype=np.int64)
        leaves[self.tree.domain] = np.arange(len(self.tree.domain))
        leaf = leaves[domains]
        base = self.tree.base[leaf]
        events = self.events
        if not len(events.at):
            return self.tree.when(leaf, count - base)
        # A domain that was ahead is skipped at its first samples: from then on its count is the tree's.
        skipped = np.bincount(events.skips[events.skips >= 0], minlength=len(self.sampled))[domains]
        found = self._in_stream(self.tree.when(leaf, count - base + skipped))
        gaining = np.zeros(len(self.sampled), dtype=bool)
        gaining[events.gains[events.gains >= 0]] = True
        for j in np.flatnonzero(gaining[domains]):
            # A domain that was behind has its count-th sample when the tree's samples and the extra ones first reach that count.
            extra = events.at[events.gains == domains[j]]
            tree = self.tree.when(np.full(len(extra), leaf[j]), count[j] - base[j] - np.arange(1, len(extra) + 1))
            found[j] = min(found[j], int(np.maximum(self._in_stream(tree), extra).min()))
        return found

    def leave(self, line: Line, stop: int, counts: Counts) -> None:
        """Advance the counts from the start of this stage, which has the shares of ``line``, to ``stop``."""
        counts.sampled = self.counts(stop)
        stream.blend_advance(
            line.share, line.slope, line.step, line.steps, stop - self.start, counts.whole, counts.part
        )

    def _in_stream(self, own: Integers) -> Integers:
        """Return the samples of the stream for samples of the tree."""
        lag = np.concatenate([[0], self.events.lag])[np.searchsorted(self.events.own, own, side="right")]
        return np.where(own < NEVER, own + lag, own)


def tree_of(line: Line, counts: Counts, last: Stage | None) -> stream.Stage:
    """Return the tree for a line of the plan.

    If the tree of the stage before keeps the bound with the new shares, it is reused, which needs fewer events.
    """
    middle = line.middle()
    domains = np.flatnonzero(middle)
    if last is not None and len(domains) == len(last.tree.domain) and middle[last.tree.domain].all():
        tree = _filled(line, last.tree.domain, counts, last.tree)
        if tree.bound <= BOUND:
            return tree
    order = domains[np.argsort(-middle[domains], kind="stable")].astype(np.int32)
    return _filled(line, order, counts, None)


def _filled(line: Line, order: NDArray[np.int32], counts: Counts, shape: stream.Stage | None) -> stream.Stage:
    """Return the tree over domains in this order with the numbers of a line; it has the given shape, if there is one."""
    slope = None if line.slope is None else line.slope[order]
    root = int((counts.sampled[order] - counts.whole[order]).sum())
    part = counts.part[order] if line.start else None
    return stream.Stage(line.start, root, order, line.share[order], slope, part, line.step, line.steps, shape)


def enter(line: Line, tree: stream.Stage, counts: Counts) -> Stage:
    """Begin a stage: start its tree from the counts before it, and plan its events.

    1. Compute how many samples the tree would have given each domain by now, had it been used from the first sample.
    2. A domain that has had more samples than that is ahead: its first samples of the tree are skipped, at their positions.
    3. A domain that has had fewer samples is behind. Together these domains lack as many samples as the others have in excess. They
       get the positions that become free, the most urgent first, or an earlier one if they would fall too far behind.
    """
    order = tree.domain
    ahead = counts.sampled[order] - counts.whole[order]
    root = int(ahead.sum())
    stage = Stage(line.start, tree, counts.sampled, root)
    if line.start == 0:
        return stage
    own = tree.counts(root)
    tree.base[:] = counts.sampled[order] - own
    more = ahead - own
    if not more.any():
        return stage
    skips = np.repeat(np.flatnonzero(more > 0), more[more > 0])
    which = np.arange(len(skips)) - np.searchsorted(skips, skips) + 1
    places = tree.when(skips, own[skips] + which)
    by_place = np.argsort(places, kind="stable")
    gains = np.repeat(np.flatnonzero(more < 0), -more[more < 0])
    # While an extra sample comes early, all other domains are delayed, each in proportion to its share.
    off = ahead - np.ldexp(counts.part[order].astype(np.float64), -SHARE_BITS)
    wait = (_PATIENCE + off) / np.ldexp(line.at(line.start)[order].astype(np.float64), -SHARE_BITS)
    gains = gains[np.argsort(wait[gains], kind="stable")]
    latest = line.start + np.clip(np.floor(wait[gains]), 0, float(LONGEST)).astype(np.int64)
    _set_events(stage, skips[by_place], places[by_place], gains, latest)
    return stage


def _set_events(stage: Stage, skips: Integers, places: Integers, gains: Integers, latest: Integers) -> None:
    """Merge skipped leaves, by position, with leaves that gain, by the latest sample for each (all (n,)), into events."""
    at, gains, skips, lag, own, touch = found = stream.blend_events(stage.start, LONGEST, skips, places, gains, latest)
    if not found.size:  # all events come after the last sample that can be counted
        return
    tree = stage.tree
    named = np.append(tree.domain.astype(np.int64), -1)
    stage.events = Events(at, named[gains], named[skips], lag, own)
    touched = np.maximum(gains, skips)
    by_leaf = np.argsort(touched, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(touched, minlength=len(tree.domain)))])
    by = np.where(gains >= 0, 1, -1)
    at, lag = np.ascontiguousarray(at), np.ascontiguousarray(lag)
    tree.set_events(at, gains.astype(np.int32), lag, first, touch[by_leaf], by[by_leaf])
