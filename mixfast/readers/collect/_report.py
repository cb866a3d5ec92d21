"""The report of a collection: what was kept, what was left out, and what must be checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mixfast._text.audience import either
from mixfast._text.names import counted
from mixfast._text.visible import in_lines, quote
from mixfast.readers.collect._merged import Conflict
from mixfast.readers.collect._patterns import covering


@dataclass(frozen=True, kw_only=True)
class CollectReport:
    """Describe what was collected and what was left out; ``str(report)`` is the text.

    Attributes
    ----------
    runs, metrics, files : int
        How many were collected, and from how many files.
    formats : dict of str to int
        Files of each format.
    skipped : tuple of (str, str)
        Files, folders and runs that were left out, each with the reason.
    without_results : tuple of str
        Folders without files of results, either given as runs or directly below the only given folder.
    without_metrics : tuple of str
        Runs whose files hold none of the metrics, which are left out.
    left_out : dict of str to tuple of str
        Metrics that were left out, by reason: aggregates, text, bookkeeping, on request.
    conflicts : tuple of Conflict
        Values of one metric of a run that differ between files.
    missing : dict of str to tuple of str
        Runs without a value, for each metric that lacks some.
    repeats : tuple of tuple of str
        Groups of runs with one mixture, if the files hold mixtures.
    diverged : dict of str to float
        Runs far from the others, each with the median, over its metrics, of the number of robust standard deviations by which it is worse.
    unknown : tuple of str
        Metrics whose direction neither a file nor the name tells.
    directions : dict of str to str
        "max" (more is better) or "min" (less is better) for all other metrics.
    told_by : dict of str to str
        Where each of these directions comes from: "given" (by the caller), "file" or "name".
    doubted : dict of str to str
        Metrics for which the opposite direction may be right, and why.
    notes : tuple of str
        Other remarks.
    """

    runs: int
    metrics: int
    files: int
    formats: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    without_results: tuple[str, ...] = ()
    without_metrics: tuple[str, ...] = ()
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    repeats: tuple[tuple[str, ...], ...] = ()
    diverged: Mapping[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    directions: Mapping[str, str] = field(default_factory=dict)
    told_by: Mapping[str, str] = field(default_factory=dict)
    doubted: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text()

    def text(self, limit: int | None = 3) -> str:
        """Return a summary, and one line for each kind of thing that must be checked.

        Parameters
        ----------
        limit : int or None, default 3
            Names in one line; None for all.
        """
        formats = ", ".join(f"{count} {name}" for name, count in self.formats.items())
        head = f"{counted(self.runs, 'run')}, {counted(self.metrics, 'metric')}, from {counted(self.files, 'file')}: {formats}"
        return in_lines([head, *self._ways(limit), *self._left_out(limit), *self._doubts(limit), *self.notes])

    def _ways(self, limit: int | None) -> Iterator[str]:
        """Yield a line for each direction and each origin of directions."""
        groups: dict[tuple[str, str], list[str]] = {}
        for name, way in self.directions.items():
            groups.setdefault((way, self.told_by[name]), []).append(name)
        for way, words in _WAYS.items():
            for who, by in _TOLD.items():
                if names := groups.get((way, who)):
                    yield f"{words} is better, {by}, {counted(len(names), 'metric')}: {_some(names, limit)}"

    def _left_out(self, limit: int | None) -> list[str]:
        """Return one line on numbers that are no metrics, the most frequent reasons first."""
        kinds: dict[str, dict[str, None]] = {}
        for reason, names in self.left_out.items():
            # Each aggregate has its own parts.
            kind = _AGGREGATE if limit is not None and reason.startswith(_AGGREGATE) else reason
            kinds.setdefault(kind, {}).update(dict.fromkeys(names))
        reasons = sorted(kinds.items(), key=lambda item: -len(item[1]))
        if limit is None:
            return [f"left out, {reason}: {', '.join(names)}" for reason, names in reasons]
        shown = [f"{reason}: {_some(list(names), limit)}" for reason, names in reasons]
        return [f"left out, {_some(shown, limit, '; ')}"] if reasons else []

    def _doubts(self, limit: int | None) -> Iterator[str]:
        """Yield one line for each kind of thing that must be checked."""
        yield from self._skipped(limit)
        if self.without_results:
            yield f"without results, {counted(len(self.without_results), 'folder')}: {_some(self.without_results, limit)}"
        if self.without_metrics:
            runs = _some(self.without_metrics, limit)
            yield f"left out, without a value of any of the metrics, {counted(len(self.without_metrics), 'run')}: {runs}"
        yield from self._missing(limit)
        yield from self._conflicts(limit)
        if self.repeats:
            groups = [_some(group, limit) for group in self.repeats]
            yield f"one mixture for several runs, {counted(len(groups), 'mixture')}: {_some(groups, limit, '; ')}"
        if self.diverged:
            far = [f"{run} ({score:.0f})" for run, score in self.diverged.items()]
            yield f"diverged, kept and marked, with the distance from the median in robust standard deviations, {counted(len(far), 'run')}: {_some(far, limit)}"
        reasons: dict[tuple[str, str], list[str]] = {}
        for name, why in self.doubted.items():
            reasons.setdefault((self.directions[name], why), []).append(name)
        for (way, why), names in reasons.items():
            yield f"{_WAYS[way]} is taken as better, but each {why}, {counted(len(names), 'metric')}: {_some(names, limit)}"
        if self.unknown:
            yield (
                f"which way is better is not known, {counted(len(self.unknown), 'metric')}: {_some(self.unknown, limit)}; add {self._how()}, "
                "otherwise laws are fitted as if less were better"
            )

    def _skipped(self, limit: int | None) -> Iterator[str]:
        """Yield a line for each reason why files were not read; reasons that differ only in numbers are one."""
        reasons: dict[str, tuple[str, list[str]]] = {}
        for where, reason in self.skipped:
            alike = re.sub(r"\d+", "#", reason) if limit is not None else reason
            reasons.setdefault(alike, (reason, []))[1].append(where)
        groups = list(reasons.values())
        for reason, places in groups[:_MOST_REASONS] if limit is not None else groups:
            yield f"not read, {counted(len(places), 'file')}, {reason}: {_some(places, limit)}"
        if limit is not None and len(groups) > _MOST_REASONS:
            rest = sum(len(places) for _, places in groups[_MOST_REASONS:])
            yield f"not read, for {counted(len(groups) - _MOST_REASONS, 'other reason')}: {rest} more"

    def _missing(self, limit: int | None) -> Iterator[str]:
        """Yield a line on metrics that some runs lack; metrics that the same runs lack are one item."""
        lacking: dict[tuple[str, ...], list[str]] = {}
        for name, runs in self.missing.items():
            lacking.setdefault(runs, []).append(name)
        most = sorted(lacking.items(), key=lambda item: -len(item[0]) * len(item[1]))
        items = [f"{_some(names, limit)} in {_some(runs, limit)}" for runs, names in most]
        if items:
            yield f"no value in some runs, {counted(len(self.missing), 'metric')}: {_some(items, limit, '; ')}"

    def _conflicts(self, limit: int | None) -> Iterator[str]:
        """Yield a line on values that differ between files, with the files of the first; without a limit a line for each."""
        if not self.conflicts:
            return
        shown = self.conflicts if limit is None else self.conflicts[:1]
        told = [
            f"{one.metric} of {one.run} is {one.kept:.6g} in {one.kept_from} and was {one.dropped:.6g} in {one.dropped_from}"
            for one in shown
        ]
        rest = Counter(one.run for one in self.conflicts[len(shown) :])
        also = f"; also {_some([f'{count} of {run}' for run, count in rest.items()], limit)}" if rest else ""
        head = f"several values, the newest is used, {counted(len(self.conflicts), 'value')}:"
        yield from [f"{head} {told[0]}{also}"] if limit is not None else [head, *(f"  {one}" for one in told)]

    def _how(self) -> str:
        """Return the arguments or options that tell which way is better, to choose from."""
        found = covering(self.unknown, self.told_by)[:_MOST_PATTERNS]
        more, less = (" ".join(f"--{way}-is-better {quote(name)}" for name in found) for way in ("more", "less"))
        return either(f"more={found} or less={found}", f"{more} or {less}")


_AGGREGATE = "aggregate"
_WAYS = {"max": "more", "min": "less"}
# Words for the origin of a direction.
_TOLD = {"file": "by the files", "name": "by the names", "given": "as given"}
# Largest number of patterns shown for metrics whose direction is not known.
_MOST_PATTERNS = 3


# Largest number of reasons for files that are not read; each has its own line.
_MOST_REASONS = 4


def _some(items: Sequence[str], limit: int | None, between: str = ", ") -> str:
    """Return the first few items in full length, because paths and advice must be readable to their end."""
    if limit is None or len(items) <= limit:
        return between.join(items)
    return f"{between.join(items[:limit])} and {len(items) - limit} more" if limit else str(len(items))
