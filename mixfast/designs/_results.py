"""Mixtures that are to be trained, and what each is expected to buy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, listing, shown
from mixfast._text.notebook import html_columns, html_table
from mixfast._text.numbers import percent
from mixfast._text.visible import in_lines
from mixfast.errors import BackendError, RegionError, about_files
from mixfast.region import Region
from mixfast.swarm import Source, Swarm, read_mixtures, write_csv

# A domain that fewer runs than this sample is reported: a law learns its effect from the runs that sample it.
FEW_RUNS = 5
# Smaller shares count as not sampled: RegMix's code advises 1e-5 at least, for proxies of 1B tokens.
_SAMPLED = 1e-5

# Olmix (arXiv:2602.12237) found the error of proposals to level off at three runs for each number of a law.
RUNS_PER_NUMBER = 3


@dataclass(frozen=True, eq=False, repr=False)
class Design(Frozen):
    """Mixtures to train: the ratios of a `Swarm` whose metrics are not known yet.

    Attributes
    ----------
    ratios : ndarray (R, K), float64, read-only
    domains : tuple of str
    runs : tuple of str
        Ids, unique.
    method : str
        How they were drawn.
    advised : int
        Runs advised for the numbers that are free, see `advised_runs`.
    rare : mapping of str to int
        Domains that may have a share, but that no run samples or fewer than five do: the number of runs with a share of 1e-5 at
        least, those that exist included. A law cannot learn their effect. Give such a domain a floor, lower the sampler's minimum or
        temperature, use ``method="cover"``, or merge or drop the domain. Empty for mixtures that were read.
    """

    ratios: Matrix
    domains: tuple[str, ...]
    runs: tuple[str, ...]
    method: str
    advised: int
    rare: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", np.array(self.ratios))
        self.ratios.setflags(write=False)

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        return f"Design({counted(len(self), 'run')}; {counted(len(self.domains), 'domain')}: {listing(self.domains, limit=4)}; {self.method})"

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """Return how many mixtures there are, and whether they are enough, as text."""
        enough = "enough" if len(self) >= self.advised else "fewer than advised"
        alike = "" if self.different == len(self) else f"only {self.different} of them differ; "
        return (
            f"{len(self)} runs, {len(self.domains)} domains, {self.method}; {alike}"
            f"{enough} for a log-linear law: {RUNS_PER_NUMBER} for each of its numbers are {self.advised}"
            + "".join(f"; {line}" for line in rarely_sampled(self.rare))
        )

    def _repr_html_(self) -> str:
        """Show the first mixtures in a notebook."""
        names, more = html_columns(self.domains)
        rows = [
            (run, *map(percent, row[: len(names)])) for run, row in zip(self.runs, self.ratios.tolist(), strict=True)
        ]
        title = f"Design: {counted(len(self), 'run')}, {counted(len(self.domains), 'domain')}, {self.method}"
        return html_table(title, ["run", *names], rows, lines=[*more, f"advised: {self.advised} runs"], what="runs")

    def to_pandas(self) -> Any:
        """Return the mixtures as a pandas DataFrame: the runs as labels, one column for each domain.

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        columns = dict(zip(self.domains, self.ratios.T.copy(), strict=True))
        return data_frame(columns, self.runs, "run", BackendError)

    @property
    def different(self) -> int:
        """Number of mixtures that differ by 1e-9 in some share; fewer than the runs if the limits leave almost no room."""
        return len(np.unique(self.ratios.round(9), axis=0))

    def to_csv(self, target: Source, *, force: bool = False) -> None:
        """Write the mixtures to a path or an open file: ids in a column "run", digits that read back as the same numbers.

        Raises
        ------
        SwarmError
            A name that a spreadsheet would compute, such as "=1+1"; or, without ``force``, a file of another kind that would be lost.
        OSError
            The file cannot be written, and the old one is as it was.
        """
        rows = ([run, *row] for run, row in zip(self.runs, self.ratios.tolist(), strict=True))
        write_csv(target, ["run", *self.domains], rows, force=force)

    @classmethod
    def from_csv(cls, source: Source) -> Design:
        """Read mixtures that `to_csv` wrote, or the ratios of a `Swarm`: a run a row, ids in "run", "run_id" or "index".

        Raises
        ------
        SwarmError
            If the file has no ids, or its numbers are no shares; the message names file, column and run.
        """
        with about_files(source):
            domains, runs, ratios = read_mixtures(source)
            return cls(ratios, domains, runs, "given", RUNS_PER_NUMBER * (len(domains) + 1))

    def with_metrics(self, metrics: ArrayLike, metric_names: Iterable[str], **options: Any) -> Swarm:
        """Return the `Swarm` of these mixtures and what they reached, (R, J) in the order of `runs`; options as there.

        Raises
        ------
        SwarmError
            As for `Swarm`.
        """
        return Swarm(self.ratios, metrics, domains=self.domains, metric_names=metric_names, runs=self.runs, **options)


@dataclass(frozen=True, eq=False, repr=False)
class NextRuns:
    """Mixtures to train next, and what each is expected to buy.

    Attributes
    ----------
    design : Design
        The mixtures, in the order to train them.
    gain : ndarray (q,)
        What each run is expected to buy, given those before it, in the unit of ``bought``.
    bought : str
        "nats of information on the coefficients", or "expected improvement of the objective".
    predicted, sd : ndarray (q,)
        The objective that the law expects of each, to be minimised, and its standard deviation, before any of them.
    best : float
        The objective that the law expects of the best run there is.
    """

    design: Design
    gain: Vector
    bought: str
    predicted: Vector
    sd: Vector
    best: float

    def __repr__(self) -> str:
        return f"NextRuns({counted(len(self.design), 'run')}, for {self.bought}; best so far {self.best:.6g})"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Show the runs with what each is expected to bring in a notebook."""
        numbers = zip(self.design.runs, self.gain.tolist(), self.predicted.tolist(), self.sd.tolist(), strict=True)
        rows = [(run, f"{gain:.3g}", f"{value:.6g}", f"{sd:.2g}") for run, gain, value, sd in numbers]
        lines = [f"gain: {self.bought}, each given the runs before it; the best run there is has {self.best:.6g}"]
        return html_table("Next runs", ["run", "gain", "predicted", "+-"], rows, lines=lines, what="runs")

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with the runs as labels and the columns "gain", "predicted" and "sd".

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        columns = {"gain": self.gain.copy(), "predicted": self.predicted.copy(), "sd": self.sd.copy()}
        return data_frame(columns, self.design.runs, "run", BackendError)

    def summary(self) -> str:
        """Return what each run is expected to buy, as text."""
        lines = [f"{len(self.design)} runs to train next, for {self.bought}; the best so far has {self.best:.6g}"]
        lines += [
            f"{run}: gain {gain:.3g}, predicted {value:.6g} +- {sd:.2g}"
            for run, gain, value, sd in zip(
                self.design.runs, self.gain.tolist(), self.predicted.tolist(), self.sd.tolist(), strict=True
            )
        ]
        return in_lines(lines)


def rare(rows: Matrix, region: Region) -> dict[str, int]:
    """Return the domains that may have a share and that fewer than `FEW_RUNS` rows sample, with the number of these rows."""
    counts = (rows >= _SAMPLED).sum(axis=0).tolist()
    # With fewer runs in all, only what no run samples is worth a word.
    few = FEW_RUNS if len(rows) >= FEW_RUNS else 1
    found = zip(region.domains, counts, region.reachable.tolist(), strict=True)
    return {name: count for name, count, open_ in found if open_ and count < few}


def rarely_sampled(rare: Mapping[str, int]) -> list[str]:
    """Say which domains no run samples, and which only a few do."""
    none = [name for name, count in rare.items() if count == 0]
    few = [f"{name} ({count})" for name, count in rare.items() if count > 0]
    lines = [f"no run samples {listing(none)}"] if none else []
    return lines + ([f"fewer than {FEW_RUNS} runs sample {listing(few)}"] if few else [])


def numbered(count: int, taken: Iterable[str]) -> tuple[str, ...]:
    """Ids that count on from the largest number among those taken."""
    used = set(taken)
    start = max((int(run) + 1 for run in used if run.isdecimal()), default=len(used))
    fresh = tuple(str(start + index) for index in range(count))
    return fresh if used.isdisjoint(fresh) else tuple(f"new-{run}" for run in fresh)


def whole(value: object, what: str) -> int:
    """A count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise RegionError(f"{what} must be a whole number of at least 1, got {shown(value)}")
    return int(value)


def seeded(value: object) -> int:
    """A seed that every generator takes."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 1 << 32:
        raise RegionError(f"seed must be a whole number from 0 to 2^32 - 1, got {shown(value)}")
    return int(value)
