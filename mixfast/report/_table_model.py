"""A table of experts as data for the explorer's page, which evaluates the same objective in JavaScript (`explorer/table.js`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.objectives.base import Sum
from mixfast._engine.objectives.calibration import calibrated, coded, row_losses
from mixfast._engine.objectives.squared_error import SquaredError
from mixfast.region import Region
from mixfast.report._law_model import Data, packed
from mixfast.solver import GroupWeights, group_losses
from mixfast.tables import ChosenRows, ExpertTable, ShardedTable, choose_rows

Table: TypeAlias = ExpertTable | ShardedTable
Objective: TypeAlias = Mapping[str, float] | str | None

# Bytes of rows in the page, of which base64 makes 4/3: with the rest of the page, less than 2 MB. A group takes some bytes for its names.
_ROOM, _GROUP = 1_360_000, 400
# Mixtures whose losses the weights of a sample are fitted to: at most and for each domain, and random ones among them, at least.
_FITTED, _FOR_EACH, _LEAST = 640, 40, 64
# If the error in nats is larger, more rows with fewer bits for each value are tried, and weights are fitted to more mixtures: at most and for
# each domain.
_ENOUGH, _BITS, _MORE = 1e-3, (8, 4), (1500, 50)
# Random mixtures at which the error of a sample is measured, and at which the spread of the losses is, if nothing else is.
_MEASURED, _SPREAD = 512, 64
# Rows of a group for each loss that they are fitted to, at least.
_ROWS_PER_LOSS = 4
# Concentrations of random mixtures, from one or two domains to all. The losses of few domains differ most between samples of the rows, so weights
# are fitted to more of them.
_CONCENTRATIONS, _SPARSE = (0.05, 0.1, 0.3, 1.0), (0.05, 0.05, 0.1, 0.3)


@dataclass(frozen=True)
class TableModel:
    """The data of the page; how many rows it has, and the largest error of a group's or the whole loss at `mixtures` that it was measured at.

    `error` is 0 if the page has all rows as they are.
    """

    data: Data
    rows: int
    all_rows: int
    error: float
    mixtures: int

    def words(self) -> str:
        """Say how exact the page is."""
        if not self.mixtures:
            return f"The page evaluates all {self.all_rows:,} rows of the table."
        share = f"{self.rows:,} of {self.all_rows:,}" if self.rows < self.all_rows else f"all {self.rows:,}"
        return (
            f"The page evaluates {share} rows of the table, rounded and weighted so that their losses are those of all rows: at {self.mixtures} "
            f"random mixtures the largest difference was {_nats(self.error)}."
        )


def _nats(error: float) -> str:
    """Write an error without a power of ten."""
    if error < 1e-6:
        return "less than 0.000001 nats"
    return f"{np.format_float_positional(error, precision=2, fractional=False)} nats"


def table_model(
    table: Table, region: Region, mixtures: Iterable[Vector], objective: Objective = None, *, seed: int = 0
) -> TableModel:
    """Return a table as data: all rows if they fit into the page, else some of them; of squared errors, the Gram matrices.

    `mixtures` are those of the page, at which a sample is exact.
    """
    table = table if isinstance(table, ShardedTable) else table.to("cpu")
    weights = GroupWeights.of(objective, table.group_names)
    rng = np.random.default_rng(seed)
    room = _ROOM - _GROUP * table.n_groups
    if isinstance(table, ExpertTable) and table.kind == "mse":
        part: Data | None = _squares(table)
    else:
        part = _whole(table, f"f{table.dtype.itemsize}", room)
    rows, error, measured = table.n_rows, 0.0, 0
    if part is not None:
        losses = group_losses(table, _random(table.n_domains, region, _SPREAD, _CONCENTRATIONS, rng))
    else:
        fitted = _fitted(table.n_domains, region, list(mixtures), rng)
        others = _random(table.n_domains, region, _MEASURED, _CONCENTRATIONS, rng)

        def more(count: int) -> Matrix:
            return _random(table.n_domains, region, count, _SPARSE, rng)

        part, rows, losses, error = _rounded(table, fitted, more, others, room, seed)
        measured = len(others)
    metrics = _metrics(table, losses, weights.share, weights.worst)
    part |= {"share": packed(weights.share), "worst": weights.worst, "metrics": list(range(len(metrics)))}
    data = {"domains": list(table.domains), "metrics": metrics, "laws": [part], "intervals": False}
    return TableModel(data, rows, table.n_rows, error, measured)


def _metrics(table: Table, losses: Matrix, share: Vector, worst: bool) -> list[Data]:
    """Return the whole target and each group, with the spread of their losses (G, M) over some mixtures."""
    words = "largest loss of a group" if worst else "whole target"
    whole = losses.max(axis=0) if worst else share @ np.where(share[:, None] > 0.0, losses, 0.0)
    named = [(words, whole)] + ([*zip(table.group_names, losses, strict=True)] if table.n_groups > 1 else [])
    law = "cross-entropy of the mixed experts" if table.kind == "ce" else "squared error of the mixed experts"
    return [
        {"name": name, "unit": table.unit, "law": law, "sign": 1, "spread": _spread(values)} for name, values in named
    ]


def _spread(values: Vector) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.std()) if finite.size else 0.0


def _fitted(width: int, region: Region, mixtures: list[Vector], rng: np.random.Generator) -> Matrix:
    """Return mixtures whose losses a sample reproduces: those of the page, single domains, steps towards these, pairs, and random ones."""
    corners = np.eye(width)
    start = mixtures[-1] if mixtures else region.prior
    steps = [(1.0 - t) * start + t * corners for t in (0.3, 0.7)]
    count = min(_FITTED, _FOR_EACH * width)
    pairs = rng.permutation(np.column_stack(np.triu_indices(width, 1)))[: count // 3]
    found = np.vstack([*mixtures, region.prior, *corners, *steps, *(corners[pairs].mean(axis=1))])
    return np.vstack([found, _random(width, region, max(count - len(found), _LEAST), _SPARSE, rng)])


def _random(
    width: int, region: Region, count: int, concentrations: tuple[float, ...], rng: np.random.Generator
) -> Matrix:
    """Return random mixtures of few and many domains: half of them allowed, half of any shares, as long as there are limits."""
    drawn = np.vstack([rng.dirichlet(np.full(width, a), -(-count // 4)) for a in concentrations])
    drawn = rng.permutation(drawn)[:count]
    if region.limited:
        drawn[::2] = [region.project(one) for one in drawn[::2]]
    return drawn


# Tables of predictions.


def _squares(table: ExpertTable) -> Data:
    """Return the Gram matrix of the residuals of each group: the loss is ``w'Gw / 2``."""
    grams = []
    for first, last in pairwise(table.group_offsets.tolist()):
        weight = table.row_weight[first:last]
        loss = SquaredError.from_table(table, Sum(weight, float(weight.mean()), window=slice(first, last)))
        grams.append(packed(loss.sums(np.zeros(table.n_domains), hessian=1)[2]))
    return {"kind": "square", "gram": grams}


# Tables of log-likelihoods.


def _rounded(
    table: Table, fitted: Matrix, more: Callable[[int], Matrix], others: Matrix, room: int, seed: int
) -> tuple[Data, int, Matrix, float]:
    """Return rounded or sampled rows as data, their number, the losses (G, M) of all rows at `others`, and the error there."""
    if isinstance(table, ExpertTable) and (whole := _whole(table, "f4", room)) is not None:
        rounded = ExpertTable.from_loglik(table.loglik.astype(np.float32), weight=table.row_weight, group=table.group)
        losses = group_losses(table, others)
        return whole, table.n_rows, losses, _difference(group_losses(rounded, others), losses)
    losses, known = np.split(group_losses(table, np.vstack([others, fitted])), [len(others)], axis=1)
    samples: list[tuple[float, Sample]] = []
    for bits in _BITS:
        if samples:
            # No weights make infinite losses right.
            use = np.isfinite(known).any(axis=0)
            drawn = more(max(min(_MORE[0], _MORE[1] * table.n_domains) - int(use.sum()), _LEAST))
            fitted, known = np.vstack([fitted[use], drawn]), np.hstack([known[:, use], group_losses(table, drawn)])
        counts = _shared(_group_rows(table), 8 * room // (bits * table.n_domains + 32))
        sample = Sample.of(choose_rows(table, counts, seed=seed), _total_weights(table), fitted, known, bits)
        samples.append((_difference(sample.losses(others), losses), sample))
        if samples[-1][0] <= _ENOUGH:
            break
    error, best = min(samples, key=lambda one: one[0])
    return best.data(), sum(map(len, best.weight)), losses, error


def _difference(found: Matrix, expected: Matrix) -> float:
    """Return the largest difference of a group's loss, and so of the whole; infinite losses of both are equal."""
    with np.errstate(invalid="ignore"):
        apart = np.where(found == expected, 0.0, np.abs(found - expected))
    return float(apart.max())


def _whole(table: Table, kind: str, room: int) -> Data | None:
    """Return all rows as numbers of a type; None if they are too many for the page."""
    sharded = isinstance(table, ShardedTable)
    width = np.dtype(kind).itemsize * table.n_domains + (8 if sharded or table.uniform_weight is None else 0)
    if table.n_rows * width > room:
        return None
    data = {"kind": "rows", "depths": None, "constant": packed(np.zeros(table.n_groups))}
    if isinstance(table, ShardedTable):
        rows = choose_rows(table, table.group_rows)
        return data | {
            "values": packed(np.vstack([one.loglik for one in rows]), kind),
            "weight": packed(np.concatenate([one.weight for one in rows])),
            "offsets": np.cumsum([0, *(len(one.weight) for one in rows)]).tolist(),
        }
    uniform = table.uniform_weight
    return data | {
        "values": packed(table.values, kind),
        "weight": packed(table.row_weight) if uniform is None else uniform,
        "offsets": table.group_offsets.tolist(),
    }


def _group_rows(table: Table) -> NDArray[np.int64]:
    return table.group_rows if isinstance(table, ShardedTable) else np.diff(table.group_offsets)


def _total_weights(table: Table) -> Vector:
    if isinstance(table, ShardedTable):
        return table.weight_sums
    return np.array([table.row_weight[first:last].sum() for first, last in pairwise(table.group_offsets.tolist())])


def _shared(rows: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    """Share `room` rows evenly among groups; a group with fewer rows leaves the others more."""
    out = np.zeros_like(rows)
    left = room
    for done, g in enumerate(np.argsort(rows, kind="stable").tolist()):
        out[g] = min(int(rows[g]), left // (len(rows) - done))
        left -= int(out[g])
    return out


@dataclass(frozen=True)
class Sample:
    """Rows of each group as the page has them: codes (r, K) of depths below the best expert, weights, and what all rows add to any loss."""

    codes: list[NDArray[np.uint8]]
    depths: Vector
    weight: list[NDArray[np.float32]]
    constant: Vector
    bits: int

    @classmethod
    def of(cls, chosen: list[ChosenRows], totals: Vector, mixtures: Matrix, losses: Matrix, bits: int = 8) -> Sample:
        """Code the rows, and weight them so that they have the weight (G,) and the losses (G, M) of all rows at mixtures (M, K)."""
        values = [np.asarray(one.loglik, dtype=np.float64) for one in chosen]
        top = [one.max(axis=1) for one in values]
        codes, depths = coded(np.vstack([high[:, None] - one for high, one in zip(top, values, strict=True)]), bits)
        parts = np.split(codes, np.cumsum([len(one) for one in values])[:-1])
        weight, constant = [], []
        for part, high, rows, total, known in zip(parts, top, chosen, totals.tolist(), losses, strict=True):
            found = _weights(depths.astype(np.float32)[part], high, rows.weight, total, mixtures, known)
            weight.append(found)
            constant.append(-float(found.astype(np.float64) @ high))
        return cls(parts, depths, weight, np.array(constant), bits)

    def losses(self, mixtures: Matrix) -> Matrix:
        """Compute the losses (G, M) of the page."""
        parts = zip(self.codes, self.weight, self.constant, strict=True)
        return np.array(
            [
                base + weight.astype(np.float64) @ row_losses(self.depths[codes], mixtures)
                for codes, weight, base in parts
            ]
        )

    def data(self) -> Data:
        """Return the rows as data. Of codes of half a byte, the second is in the upper bits."""
        codes = np.vstack(self.codes)
        if self.bits == 4:
            pairs = np.append(codes, np.zeros(codes.size % 2, dtype=np.uint8)).reshape(-1, 2)
            codes = pairs[:, 0] + 16 * pairs[:, 1]
        return {
            "kind": "rows",
            "bits": self.bits,
            "values": packed(codes, "u1"),
            "depths": packed(self.depths),
            "weight": packed(np.concatenate(self.weight), "f4"),
            "offsets": np.cumsum([0, *(len(one) for one in self.weight)]).tolist(),
            "constant": packed(self.constant),
        }


def _weights(
    depth: NDArray[np.float32], top: Vector, weight: Vector, total: float, mixtures: Matrix, losses: Vector
) -> NDArray[np.float32]:
    """Return weights (r,) of the rows of a group, with which they have the weight and the losses (M,) of all rows."""
    use = np.flatnonzero(np.isfinite(losses))[: max(len(weight) // _ROWS_PER_LOSS - 1, 0)]
    features = np.empty((len(weight), use.size + 1), dtype=np.float32)
    # The loss of a row less the level of its best expert; a level that all rows share is added to both sides.
    level = float(top.mean()) if len(top) else 0.0
    row_losses(depth, mixtures[use], out=features[:, 1:])
    features[:, 1:] -= (top - level).astype(np.float32)[:, None]
    features[:, 0] = 1.0
    sums = np.append(total, losses[use] + level * total)
    met = np.isfinite(features.sum(axis=0))
    if not met.all():
        features, sums = np.ascontiguousarray(features[:, met]), sums[met]
    return calibrated(weight, features, sums).astype(np.float32)
