"""holdout(): fit on a part of the sequences, compare mixtures on the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen
from mixfast._text.names import listing, named, shown
from mixfast._text.notebook import html_table
from mixfast._text.progress import working
from mixfast._text.table import text_table
from mixfast.errors import BackendError
from mixfast.ranks import led
from mixfast.region import Region
from mixfast.solver._solution import Solution
from mixfast.solver._solve import solve
from mixfast.tables import ExpertTable, ShardedTable


@dataclass(frozen=True)
class HeldOutRow:
    """Loss of one mixture on the fitting rows and on the held-out rows, nats (squared units of the target for predictions); `fitted` says whether the mixture was chosen on the fitting rows."""

    name: str
    fit_loss: float
    held_out_loss: float
    fitted: bool


@dataclass(frozen=True, eq=False, repr=False)
class HeldOut(Frozen):
    """Losses of mixtures on fitted and held-out sequences.

    Attributes
    ----------
    rows : tuple of HeldOutRow
        "mixfast" (and "mixfast, no limits" if there is a region), "eg-paper" (for log-likelihoods in memory or in one file), "uniform", "prior" (if the region has one) and "only <domain>" for each expert, lowest held-out loss first.
    solution : Solution
        The solve on the fitted part.
    sizes : (int, int)
        Numbers of rows in the fitted part and in the held-out part.
    """

    rows: tuple[HeldOutRow, ...]
    solution: Solution
    sizes: tuple[int, int]

    def __getitem__(self, name: str) -> HeldOutRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"there is no mixture {shown(name)}; the mixtures are {listing(row.name for row in self.rows)}")

    def __repr__(self) -> str:
        best = self.rows[0]
        return f"HeldOut({len(self.rows)} mixtures, {self.sizes[0]:,} rows fitted, {self.sizes[1]:,} held out; best: {named(best.name)} {best.held_out_loss:.6g})"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Show the losses of the mixtures in a notebook."""
        rows = [(row.name, f"{row.fit_loss:.5f}", f"{row.held_out_loss:.5f}") for row in self.rows]
        title = f"Held out: {self.sizes[1]:,} of {sum(self.sizes):,} rows"
        return html_table(title, ["mixture", "loss where fitted", "loss held out"], rows, what="mixtures")

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with the mixtures as labels and the columns "fit_loss", "held_out_loss" and "fitted".

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        columns = {name: [getattr(row, name) for row in self.rows] for name in ("fit_loss", "held_out_loss", "fitted")}
        return data_frame(columns, [row.name for row in self.rows], "mixture", BackendError)

    def summary(self) -> str:
        """Return the losses of the mixtures as a text table."""
        rows = [[row.name, f"{row.fit_loss:.5f}", f"{row.held_out_loss:.5f}"] for row in self.rows]
        return text_table(["mixture", "fitted on", "held out"], rows)


@led
def holdout(
    table: ExpertTable | ShardedTable,
    region: Region | None = None,
    *,
    share: float = 0.2,
    seed: int = 0,
    **options: Any,
) -> HeldOut:
    """Fit on a part of the sequences and compare mixtures on the others.

    Parameters
    ----------
    table, region, options
        As in `solve`.
    share : float, default 0.2
        Fraction of the sequences of each group that is held out.
    seed : int, default 0

    Returns
    -------
    HeldOut

    Raises
    ------
    ValueError
        A share outside (0, 1).

    Notes
    -----
    A sharded table is split by `ShardedTable.split`: nothing is copied, and the fit and the comparison sweep the same files.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share is {share}, expected a fraction of the sequences between 0 and 1")
    fit, held_out = table.split(1.0 - share, seed=seed)
    with working("solving without the held-out rows"):
        return _compared(fit, held_out, table, region, options)


def _compared(
    fit: ExpertTable | ShardedTable,
    held_out: ExpertTable | ShardedTable,
    table: ExpertTable | ShardedTable,
    region: Region | None,
    options: dict[str, Any],
) -> HeldOut:
    """Solve on one part of a table, and compare mixtures on both parts."""
    solution = solve(fit, region, **options)
    fitted = {"mixfast": solution.mixture.weights}
    if region is not None:
        # The other mixtures ignore the limits as well.
        fitted["mixfast, no limits"] = solution.unconstrained.mixture.weights
    # 100 steps, each a sweep: too many for rows that are not in memory.
    if isinstance(table, ExpertTable) and not solution.worst and table.kind == "ce":
        simple = {key: value for key, value in options.items() if key in ("objective", "threads")}
        fitted["eg-paper"] = solve(fit, method="eg-paper", **simple).mixture.weights
    plain = {"uniform": np.full(table.n_domains, 1.0 / table.n_domains)}
    if region is not None and region.has_prior:
        plain["prior"] = region.align(table.domains).prior
    plain |= {f"only {name}": row for name, row in zip(table.domains, np.eye(table.n_domains), strict=True)}
    names, stack = [*fitted, *plain], np.array([*fitted.values(), *plain.values()])
    here, there = solution.losses(stack), solution.losses(stack, table=held_out)
    rows = [HeldOutRow(n, float(a), float(b), n in fitted) for n, a, b in zip(names, here, there, strict=True)]
    return HeldOut(tuple(sorted(rows, key=lambda row: row.held_out_loss)), solution, (fit.n_rows, held_out.n_rows))
