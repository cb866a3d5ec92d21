"""Design and NextRuns: mixtures to train, and the expected gain of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.atomic import write_text
from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, listing, shown
from mixfast._text.notebook import html_columns, html_table
from mixfast._text.numbers import percent
from mixfast._text.outputs import COUNTS, check_output
from mixfast._text.visible import in_lines
from mixfast._text.yaml import write_yaml
from mixfast.designs._repetition import SAMPLED, Pools, doubts, epochs_of
from mixfast.errors import BackendError, RegionError, about_files
from mixfast.region import Region
from mixfast.swarm import BudgetColumn, Source, Swarm, TokensTable, epochs_of_runs, read_mixtures, write_csv

# Domains that fewer runs sample are reported: a law learns the effect of a domain from the runs that sample it.
FEW_RUNS = 5

# Olmix (arXiv:2602.12237) found that the error of proposals levels off at three runs for each parameter of a law.
RUNS_PER_NUMBER = 3


@dataclass(frozen=True, eq=False, repr=False)
class Design(Frozen):
    """Mixtures to train: the ratios of a `Swarm` without its metrics.

    Attributes
    ----------
    ratios : ndarray (R, K), float64, read-only
    domains : tuple of str
    runs : tuple of str
        Unique ids.
    method : str
        How the mixtures were chosen.
    advised : int
        Number of runs advised for the free parameters, see `advised_runs`.
    rare : mapping of str to int
        Domains that may have a share but that fewer than five runs sample, with the number of runs that give them a share of at least
        1e-5, including existing runs. A law cannot learn their effect. Give such a domain a floor, lower the sampler's minimum or
        temperature, use ``method="cover"``, or merge or drop the domain. Empty for mixtures read from a file.
    pools : mapping of str to int, or None
        Tokens of each domain's pool, so that a share is read as often in a proxy run as in the target run. None if they are not planned.
    budget : int or None
        Tokens of a proxy run; None if the pools are not planned.
    sequence : int
        Tokens of a sequence: pools are multiples of it.
    doubts : tuple of str
        What the epochs of the runs cannot tell, one sentence each: wear that cannot be told from value, pools and shares below one sequence,
        existing runs with other epochs.
    repeats : tuple of str
        Ids of the runs that repeat one mixture, the one nearest to the prior. Train each with another seed: `Swarm.noise` then has the seed
        standard deviation of each metric.
    """

    ratios: Matrix
    domains: tuple[str, ...]
    runs: tuple[str, ...]
    method: str
    advised: int
    rare: Mapping[str, int] = field(default_factory=dict)
    pools: Mapping[str, int] | None = None
    budget: int | None = None
    sequence: int = 1
    doubts: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    # Epochs (R, K) of runs that exist, if their tokens are known.
    _epochs: Matrix | None = None

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
        """Return the number of mixtures, and whether it is enough, as text."""
        enough = "enough" if len(self) >= self.advised else "fewer than advised"
        alike = "" if self.different == len(self) else f"only {self.different} of them are different; "
        return (
            f"{len(self)} runs, {len(self.domains)} domains, {self.method}; {alike}"
            f"{enough} for a log-linear law: {RUNS_PER_NUMBER} runs for each of its parameters are {self.advised}"
            + "".join(f"; {line}" for line in rarely_sampled(self.rare))
            + "".join(f"\nDoubt: {doubt}" for doubt in self.doubts)
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
        """Number of mixtures that differ by more than 1e-9 in some share; fewer than the runs if the limits leave almost no room."""
        return len(np.unique(self.ratios.round(9), axis=0))

    @property
    def epochs(self) -> Matrix | None:
        """How often each run reads each domain's pool (R, K), 0 where the share is 0; None if the pools are not known."""
        if self._epochs is not None:
            return self._epochs
        if self.pools is None or self.budget is None:
            return None
        sizes = np.array([float(self.pools[name]) for name in self.domains])
        return epochs_of(self.ratios, sizes, self.budget)

    @property
    def sizes(self) -> dict[str, int] | None:
        """Sequences in each domain's pool, for the ``sizes`` of a `MixtureSampler`; None if the pools are not planned.

        A sample of the sampler is one sequence.
        """
        if self.pools is None:
            return None
        return {name: size // self.sequence for name, size in self.pools.items()}

    def save_pools(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write the tokens of each domain's pool as a yaml file of ``domain: tokens``, which ``--run-tokens`` and `readers.token_counts` read.

        Raises
        ------
        RegionError
            If the pools are not planned; or the ending is another one; or, without ``force``, a file of another kind would be overwritten.
        OSError
            If the file cannot be written. The old file is unchanged.
        """
        if self.pools is None:
            raise RegionError("the pools are not planned: give design the tokens of a proxy run (proxy_budget)")
        check_output(path, COUNTS, RegionError, force=force)
        write_text(path, write_yaml(dict(self.pools)))

    def to_csv(self, target: Source, *, force: bool = False) -> None:
        """Write the mixtures to a path or an open file, with ids in a column "run" and all digits of the shares.

        Raises
        ------
        SwarmError
            A name looks like a formula of a spreadsheet, such as "=1+1"; or, without ``force``, a file of another kind would be
            overwritten.
        OSError
            The file cannot be written; the old one is unchanged.
        """
        rows = ([run, *row.tolist()] for run, row in zip(self.runs, self.ratios, strict=True))
        write_csv(target, ["run", *self.domains], rows, force=force)

    @classmethod
    def from_csv(cls, source: Source, *, tokens: TokensTable = None, budget: BudgetColumn = None) -> Design:
        """Read mixtures that `to_csv` wrote, or the ratios of a `Swarm`: one run per row, with ids in "run", "run_id" or "index".

        Parameters
        ----------
        source : path, open file or str
        tokens, budget
            The tokens that the runs could read, and those that each read, as for `Swarm.from_csv`, for `epochs`; ``tokens`` may name further
            domains.

        Raises
        ------
        SwarmError
            If the file has no ids, or its numbers are not shares; the message names file, column and run. Or as for `Swarm.with_tokens`.
        """
        with about_files(source):
            domains, runs, ratios = read_mixtures(source)
        epochs = epochs_of_runs(tokens, budget, ratios, domains, runs)
        return cls(ratios, domains, runs, "given", RUNS_PER_NUMBER * (len(domains) + 1), _epochs=epochs)

    def with_metrics(self, metrics: ArrayLike, metric_names: Iterable[str], **options: Any) -> Swarm:
        """Return the `Swarm` of these mixtures and their measured metrics (R, J), in the order of `runs`; options as for `Swarm`.

        The pools and the budget of the design become the tokens and the budget of the swarm, unless the options name others.

        Raises
        ------
        SwarmError
            As for `Swarm`.
        """
        if self.pools is not None and not {"tokens", "budget"} & set(options):
            options |= {"tokens": dict(self.pools), "budget": self.budget}
        return Swarm(self.ratios, metrics, domains=self.domains, metric_names=metric_names, runs=self.runs, **options)


@dataclass(frozen=True, eq=False, repr=False)
class NextRuns:
    """Mixtures to train next, with the expected gain of each.

    Attributes
    ----------
    design : Design
        The mixtures, in the order to train them.
    gain : ndarray (q,)
        Expected gain of each run, given those before it, in the unit of ``bought``.
    bought : str
        "nats of information about the coefficients", or "expected improvement of the objective".
    predicted, sd : ndarray (q,)
        Predicted objective of each run, to be minimised, and its standard deviation, before any of them is trained.
    best : float
        Predicted objective of the best existing run.
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
        """Show the runs and their expected gains in a notebook."""
        numbers = zip(self.design.runs, self.gain.tolist(), self.predicted.tolist(), self.sd.tolist(), strict=True)
        rows = [(run, f"{gain:.3g}", f"{value:.6g}", f"{sd:.2g}") for run, gain, value, sd in numbers]
        lines = [f"gain: {self.bought}, each given the runs before it; the best existing run has {self.best:.6g}"]
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
        """Return the expected gain of each run, as text."""
        lines = [f"{len(self.design)} runs to train next, for {self.bought}; the best so far has {self.best:.6g}"]
        lines += [
            f"{run}: gain {gain:.3g}, predicted {value:.6g} +- {sd:.2g}"
            for run, gain, value, sd in zip(
                self.design.runs, self.gain.tolist(), self.predicted.tolist(), self.sd.tolist(), strict=True
            )
        ]
        return in_lines(lines)


def designed(
    rows: Matrix,
    region: Region,
    runs: tuple[str, ...],
    method: str,
    advised: int,
    pools: Pools | None,
    existing: Matrix | None = None,
    known: Matrix | None = None,
    repeats: int = 0,
) -> Design:
    """Return a design with the domains that few runs sample, its pools, and the doubts about its epochs.

    `existing` (N, K) are runs that exist and `known` (N, K) their epochs; see `_repetition.doubts`. The first `repeats` rows are one mixture.
    """
    before = np.zeros((0, region.n_domains)) if existing is None else existing
    few = rare(np.concatenate([before, rows]), region, 0.0 if pools is None else pools.sequence / pools.budget)
    planned = {} if pools is None else {"pools": pools.tokens, "budget": pools.budget, "sequence": pools.sequence}
    said = doubts(region, rows, pools, before, known)
    return Design(rows, region.domains, runs, method, advised, few, doubts=said, repeats=runs[:repeats], **planned)  # type: ignore[arg-type]


def rare(rows: Matrix, region: Region, least: float = 0.0) -> dict[str, int]:
    """Return the domains that may have a share and that fewer than `FEW_RUNS` rows sample, with the number of these rows.

    Shares below `least`, that of one sequence, count as not sampled.
    """
    counts = (rows >= max(SAMPLED, least)).sum(axis=0).tolist()
    # With fewer runs than that in all, only domains that no run samples are reported.
    few = FEW_RUNS if len(rows) >= FEW_RUNS else 1
    found = zip(region.domains, counts, region.reachable.tolist(), strict=True)
    return {name: count for name, count, open_ in found if open_ and count < few}


def rarely_sampled(rare: Mapping[str, int]) -> list[str]:
    """Name the domains that no run samples, and those that only a few sample."""
    none = [name for name, count in rare.items() if count == 0]
    few = [f"{name} ({count})" for name, count in rare.items() if count > 0]
    lines = [f"no run samples {listing(none)}"] if none else []
    return lines + ([f"fewer than {FEW_RUNS} runs sample {listing(few)}"] if few else [])


def numbered(count: int, taken: Iterable[str]) -> tuple[str, ...]:
    """Return new ids that continue from the largest number among those taken."""
    used = set(taken)
    start = max((int(run) + 1 for run in used if run.isdecimal()), default=len(used))
    fresh = tuple(str(start + index) for index in range(count))
    return fresh if used.isdisjoint(fresh) else tuple(f"new-{run}" for run in fresh)


def whole(value: object, what: str) -> int:
    """Check a count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise RegionError(f"{what} must be a whole number of at least 1, got {shown(value)}")
    return int(value)


def seeded(value: object) -> int:
    """Check a seed that every generator accepts."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 1 << 32:
        raise RegionError(f"seed must be a whole number from 0 to 2^32 - 1, got {shown(value)}")
    return int(value)
