"""The report of a collection: what was kept, what was left out, and what must be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mixfast._text.names import counted, listing
from mixfast._text.visible import in_lines
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
    left_out : dict of str to tuple of str
        Metrics that were left out, by reason: aggregates, text, bookkeeping, on request.
    conflicts : tuple of Conflict
        Values of one metric of a run that differ between files.
    missing : dict of str to tuple of str
        Runs without a value, for each metric that lacks some.
    diverged : dict of str to float
        Runs far outside the others, each with its median robust z over metrics.
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
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    diverged: Mapping[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    told_by: Mapping[str, str] = field(default_factory=dict)
    doubted: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        formats = ", ".join(f"{count} {name}" for name, count in self.formats.items())
        lines = [
            f"{counted(self.runs, 'run')}, {counted(self.metrics, 'metric')}, from {counted(self.files, 'file')} ({formats})"
        ]
        lines += [f"skipped: {where}: {reason}" for where, reason in self.skipped[:20]]
        lines += [f"left out, {reason}: {listing(names)}" for reason, names in self.left_out.items()]
        lines += [
            f"conflict: run {one.run}, {one.metric}: {one.kept:.6g} from {one.kept_from} is taken, not {one.dropped:.6g} from {one.dropped_from}"
            for one in self.conflicts[:20]
        ]
        if self.diverged:
            lines.append(f"far outside the others, kept and marked: {listing(self.diverged)}")
        if self.unknown:
            lines.append(f"which way is better is not known: {listing(self.unknown)}")
        return in_lines([*lines, *self.notes])
