"""The report of a collection: what was kept, what was left out, and what must be checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mixfast._text.audience import either
from mixfast._text.names import counted, listing
from mixfast._text.visible import in_lines, quote
from mixfast.readers._patterns import covering
from mixfast.readers._results_merged import Conflict


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
        Folders that were given as runs, or that lie in the only given folder, and hold no files of results; and runs without any of the metrics.
    left_out : dict of str to tuple of str
        Metrics that were left out, by reason: aggregates, text, bookkeeping, on request.
    conflicts : tuple of Conflict
        Values of one metric of a run that differ between files.
    missing : dict of str to tuple of str
        Runs without a value, for each metric that lacks some.
    repeats : tuple of tuple of str
        Groups of runs with one mixture, if the files hold mixtures.
    diverged : dict of str to float
        Runs far outside the others, each with the median over metrics of how many robust standard deviations it is worse.
    unknown : tuple of str
        Metrics of which neither file nor name tells which way is better.
    told_by : dict of str to str
        For the others, who tells it: "given", "file" or "name".
    doubted : dict of str to str
        Metrics to minimise for which more may be better, and why.
    notes : tuple of str
        What else must be known.
    """

    runs: int
    metrics: int
    files: int
    formats: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    without_results: tuple[str, ...] = ()
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    repeats: tuple[tuple[str, ...], ...] = ()
    diverged: Mapping[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
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
        formats = listing((f"{count} {name}" for name, count in self.formats.items()), limit=len(self.formats) or 1)
        head = f"{counted(self.runs, 'run')}, {counted(self.metrics, 'metric')}, from {counted(self.files, 'file')}: {formats}"
        return in_lines([head, *self._ways(), *self._left_out(limit), *self._doubts(limit), *self.notes])

    def _ways(self) -> list[str]:
        """Return one line on who says which way is better."""
        by = Counter(self.told_by.values())
        told = [f"{words} ({by[who]})" for who, words in _TOLD.items() if by[who]]
        told += [f"not known ({len(self.unknown)})"] * bool(self.unknown)
        return [f"which way is better: {', '.join(told)}"] if told else []

    def _left_out(self, limit: int | None) -> list[str]:
        """Return one line on numbers that are no metrics, the most frequent reasons first."""
        reasons = sorted(self.left_out.items(), key=lambda item: -len(item[1]))
        if limit is None:
            return [f"left out, {reason}: {_all(names)}" for reason, names in reasons]
        shown = (f"{reason} ({listing(names, limit=1)})" for reason, names in reasons)
        return [f"left out: {listing(shown, limit=limit)}"] if reasons else []

    def _doubts(self, limit: int | None) -> Iterator[str]:
        """Yield one line for each kind of thing that must be checked."""
        lines = {
            "not read": [f"{where}: {reason}" for where, reason in self.skipped],
            "without results": list(self.without_results),
            "no value in some runs": [
                f"{name} ({len(runs)})" if limit is not None else f"{name} ({_all(runs)})"
                for name, runs in self.missing.items()
            ],
            "several values, the newest is used": [
                f"{one.metric} of {one.run} ({one.kept:.6g} in {one.kept_from}, not {one.dropped:.6g} in {one.dropped_from})"
                for one in self.conflicts
            ],
            "one mixture for several runs": [_all(group) for group in self.repeats],
            "far from the other runs, kept and marked": [
                f"{run} (robust z {z:.0f})" for run, z in self.diverged.items()
            ],
            "less is taken as better, but in doubt": [f"{name} {why}" for name, why in self.doubted.items()],
        }
        nouns = {
            "not read": "file",
            "without results": "folder",
            "one mixture for several runs": "mixture",
            "far from the other runs, kept and marked": "run",
        }
        for what, items in lines.items():
            if items:
                yield f"{what}, {counted(len(items), nouns.get(what, 'metric'))}: {_some(items, limit)}"
        if self.unknown:
            yield f"which way is better is not known, {counted(len(self.unknown), 'metric')}: {_some(self.unknown, limit)}"
            yield f"  say it: {self._how()}"

    def _how(self) -> str:
        """Return the arguments or options that tell which way is better, to be completed."""
        found = covering(self.unknown, self.told_by)[:_MOST_PATTERNS]
        more, less = (" ".join(f"--{way}-is-better {quote(name)}" for name in found) for way in ("more", "less"))
        return either(f"more={found} or less={found}", f"{more} or {less}")


# Who says which way is better, in words.
_TOLD = {"file": "told by the files", "name": "by the names", "given": "by options"}
# Patterns shown of metrics whose direction is not known.
_MOST_PATTERNS = 3


def _some(items: Sequence[str], limit: int | None) -> str:
    """Return the first few items, which are not shortened: paths and advice must be readable to their end."""
    if limit is None or len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])} and {len(items) - limit} more ({len(items)} in all)"


def _all(items: Iterable[str]) -> str:
    items = list(items)
    return listing(items, limit=len(items) or 1)
