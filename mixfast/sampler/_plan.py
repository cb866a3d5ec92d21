"""Plan: turn a schedule into the stages of a stream, which begin when shares change or domains run out."""

from __future__ import annotations

import numpy as np

from mixfast._engine.backend import stream
from mixfast.sampler._line import Line, ramp
from mixfast.sampler._numbers import LONGEST, NEVER, Integers
from mixfast.sampler._schedule import MixtureSchedule
from mixfast.sampler._stage import BOUND, Counts, Stage, enter, tree_of


class Plan:
    """The stages of a schedule, up to the end of the stream if it has one.

    Parameters
    ----------
    caps : (K,) int64
        Maximum number of samples of each domain; 2^62 means no limit.
    redistribute : bool
        Whether a domain that has reached its cap leaves and the others continue; otherwise the stream ends before the
        sample that would exceed a cap.
    length : int or None
        Samples of the run.

    Attributes
    ----------
    stages : list of Stage
    starts : list of int
        The first sample of each stage.
    end : int or None
        Sample at which caps end the stream; None if they do not.
    spent : int
        The domain whose cap ends the stream; -1 if none has any samples left.
    left : list of (int, int)
        Pairs of a sample and the domain that has left from it on, in order.
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
        self.left: list[tuple[int, int]] = []
        self._has_left = np.zeros(len(caps), dtype=bool)
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
        """Append the stages of constant shares: a new one begins when a domain leaves."""
        stop = min(stop, self.limit)
        while start < stop and self.end is None:
            present = self._present(shares)
            if present is None:
                self.end = start
                return
            start = self._run(Line(start, present), stop)

    def _ramp(self, start: int, end: int, stop: int, before: Integers, shares: Integers) -> None:
        """Append the stages of a ramp from ``before`` to ``shares`` at ``end``; another change may end it early, at ``stop``."""
        stop = min(stop, end, self.limit)
        while start < stop and self.end is None:
            now, then = self._present(before), self._present(shares)
            if now is None and then is None:
                self.end = start
                return
            # If all domains of one end of the ramp have left, the shares are those of the other end throughout.
            now, then = (then if now is None else now), (now if then is None else then)
            line = ramp(start, end, now, then)  # type: ignore[arg-type]
            start = self._run(line, stop)
            before = line.at(min(start, end - 1))

    def _present(self, shares: Integers) -> Integers | None:
        """Return the shares of the domains that have not left, with the sum 2^62; None if none of them has a share."""
        if not self._has_left.any():
            return shares
        shares = np.where(self._has_left, 0, shares)
        return stream.blend_shares(shares) if shares.any() else None

    def _run(self, line: Line, stop: int) -> int:
        """Append the stages of a line up to ``stop``, or to the sample at which a domain reaches its cap; return that sample.

        1. Make the tree of the line, or of its next part.
        2. If the tree of a ramp does not keep the bound, halve the part and begin again.
        3. Begin the stage, and find the first domain in it that reaches its cap.
        4. If there is one, end the stream or let the domain leave; otherwise continue with the next part.
        """
        parts = [(0, max(line.steps, 1))]
        while parts:
            first, until = parts.pop()
            part = line.later(first, until - first)
            if part.start >= stop:
                break
            tree = tree_of(part, self.counts, self.stages[-1] if self.stages else None)
            if tree.bound > BOUND and part.steps > 1:
                middle = (first + until) // 2
                parts += [(middle, until), (first, middle)]
                continue
            stage = enter(part, tree, self.counts)
            self.stages.append(stage)
            end = stop if until >= line.steps else min(stop, line.start + until * line.step)
            at, domain = self._first_spent(stage, part, end)
            if domain < 0:
                if end < self.limit:
                    stage.leave(part, end, self.counts)
                continue
            if not self.redistribute:
                self.end, self.spent = at, domain
                return at
            self._has_left[domain] = True
            self.left.append((at + 1, domain))
            stage.leave(part, at + 1, self.counts)
            return at + 1
        return stop

    def _first_spent(self, stage: Stage, line: Line, stop: int) -> tuple[int, int]:
        """Return the first sample before ``stop`` at which a domain reaches its cap, and the domain; ``stop``, -1 if none does.

        With ``redistribute`` this is the last sample that the domain may give, otherwise the one that exceeds its cap.
        """
        domains = stage.tree.domain.astype(np.int64)
        domains = domains[self.caps[domains] < NEVER]
        if not len(domains):
            return stop, -1
        count = self.caps[domains] + (0 if self.redistribute else 1)
        # Finding a sample by its count is slow. Find it for one domain, the first by its share, then only for the domains that have
        # reached their caps by that sample.
        pace = (count - stage.sampled[domains]) / np.maximum(line.at(line.start)[domains], 1)
        guess = int(pace.argmin())
        until = min(int(stage.when(domains[guess : guess + 1], count[guess : guess + 1])[0]) + 1, stop)
        near = stage.counts(until)[domains] >= count
        if not near.any():
            return stop, -1
        domains, at = domains[near], stage.when(domains[near], count[near])
        first = int(at.argmin())
        return int(at[first]), int(domains[first])
