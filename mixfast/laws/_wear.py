"""fit_wear(): how fast repeated tokens of each domain wear out, from runs whose epochs are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from statistics import NormalDist
from time import perf_counter
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.backend.blas import single_blas
from mixfast._engine.objectives.wear import MEASURED
from mixfast._engine.optimise import wear_fit
from mixfast._text.atomic import write_text
from mixfast._text.audience import either
from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted
from mixfast._text.notebook import html_table
from mixfast._text.numbers import LARGEST
from mixfast._text.outputs import WEAR, check_output
from mixfast._text.progress import tracked
from mixfast._text.table import text_table
from mixfast._text.yaml import write_yaml
from mixfast.errors import BackendError
from mixfast.swarm import Swarm

# Exponents of the value of tokens that are tried: 1 is the log-linear law, smaller ones let new tokens lose value too.
_POWERS = (1.0, 0.75, 0.5, 0.35)
# A domain is told only if this many runs read it at least twice, ...
_RUNS, _TWICE = 5, 2.0
# ... and its interval ends below this multiple of the most repeats of a run: beyond, wear cannot be seen in these runs.
_BEYOND = 20.0


@dataclass(frozen=True, eq=False, repr=False)
class FittedWear(Frozen):
    """How fast repeated tokens of each domain wear out.

    Attributes
    ----------
    domains : tuple of str
    repeats : (K,) float64
        Repeats after which a token is worth 1/e of a new one, as fitted; infinite if the runs show no wear.
    low, high : (K,) float64
        Ends of the intervals of `repeats`.
    told : dict of str to bool
        Whether the runs tell the wear of a domain.
    why : dict of str to str
        The reason, for each domain whose wear is not told.
    pooled : float
        Repeats of a fit with one number for all domains. If domains differ much, it need not lie between their numbers.
    pooled_low, pooled_high : float
        Its interval.
    power : float
        Exponent of effective epochs in the value of a domain: 1 means that new tokens do not lose value with their number.
    level : float
        Coverage of the intervals.
    metrics : tuple of str
        The metrics that were used.
    runs : int
        The number of runs.
    repeated : (K,) int64
        Runs that read the domain at least twice.
    most : (K,) float64
        The most epochs of a run.
    seconds : float
    """

    domains: tuple[str, ...]
    repeats: Vector
    low: Vector
    high: Vector
    told: dict[str, bool]
    why: dict[str, str]
    pooled: float
    pooled_low: float
    pooled_high: float
    power: float
    level: float
    metrics: tuple[str, ...]
    runs: int
    repeated: Vector = field(repr=False)
    most: Vector = field(repr=False)
    seconds: float = 0.0

    @property
    def mapping(self) -> dict[str, float]:
        """Repeats by domain, for ``solve(wear=...)``: those fitted, and where they are not told, the number in the interval that is nearest to `common`."""
        common = self.common
        inside = np.clip(common, self.low, self.high)
        return {
            name: float(own if self.told[name] else other)
            for name, own, other in zip(self.domains, self.repeats, inside, strict=True)
        }

    @property
    def common(self) -> float:
        """The number for domains that are not told: the median of those that are, or the published 15.4 if none is."""
        told = [repeats for name, repeats in zip(self.domains, self.repeats.tolist(), strict=True) if self.told[name]]
        return float(np.exp(np.median(np.log(told)))) if told else MEASURED

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Interval (low, high) of each domain's repeats; the upper end may be infinite."""
        return dict(zip(self.domains, zip(self.low.tolist(), self.high.tolist(), strict=True), strict=True))

    def __repr__(self) -> str:
        told = sum(self.told.values())
        return f"FittedWear({told} of {len(self.domains)} domains told by {self.runs} runs; all together {self.pooled:.3g})"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Show the numbers in a notebook."""
        head, *rows = self._rows()
        return html_table("Wear of repeated tokens", head, rows, lines=self._lines(), what="domains")

    def summary(self) -> str:
        """Return a table of the domains, those told first, with intervals and reasons."""
        head, *rows = self._rows()
        return "\n".join([text_table(head, rows, left=(0, 5)), "", *self._lines()])

    def _rows(self) -> list[list[str]]:
        order = sorted(range(len(self.domains)), key=lambda k: (not self.told[self.domains[k]], self.repeats[k]))
        rows = [
            ["domain", "wear", f"{100 * self.level:g}% interval", "most epochs", "runs that repeat", "not told because"]
        ]
        for k in order:
            name = self.domains[k]
            wear = f"{self.repeats[k]:.3g}" if self.told[name] else "not told"
            span = _span(self.low[k], self.high[k])
            rows.append([name, wear, span, f"{self.most[k]:.1f}", str(int(self.repeated[k])), self.why.get(name, "")])
        return rows

    def _lines(self) -> list[str]:
        shape = (
            ""
            if self.power == 1.0
            else f"; new tokens lose value too: a domain is worth its effective epochs to the power {self.power:g}"
        )
        lines = [
            f"wear: repeats after which a token is worth 1/e of a new one, from {self.runs} runs and {counted(len(self.metrics), 'metric')}{shape}",
            f"one number fitted to all domains: {self.pooled:.3g}, interval {_span(self.pooled_low, self.pooled_high)}",
        ]
        if not all(self.told.values()):
            what = "the median of the others" if any(self.told.values()) else "as published for web text"
            lines.append(
                f"domains that are not told get {self.common:.3g}, {what}, or the nearest number in their interval"
            )
        return lines

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with the domains as labels and the columns "wear", "low", "high", "told", "most" and "repeated".

        Raises
        ------
        BackendError
            If pandas is missing: ``pip install 'mixfast[pandas]'``.
        """
        columns = {
            "wear": self.repeats.copy(), "low": self.low.copy(), "high": self.high.copy(), "told": list(self.told.values()),
            "most": self.most.copy(), "repeated": self.repeated.copy(),
        }  # fmt: skip
        return data_frame(columns, self.domains, "domain", BackendError)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, strings, lists and dicts, for JSON."""
        return {
            "wear": self.mapping,
            "fitted": dict(zip(self.domains, self.repeats.tolist(), strict=True)),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "told": dict(self.told),
            "why": dict(self.why),
            "pooled": self.pooled,
            "pooled_interval": [self.pooled_low, self.pooled_high],
            "power": self.power,
            "level": self.level,
            "metrics": list(self.metrics),
            "runs": self.runs,
            "seconds": self.seconds,
        }

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write `mapping` as a yaml file, which ``mixfast solve --wear FILE`` reads; comments have the intervals and the reasons.

        Raises
        ------
        ValueError
            If the ending is not .yaml or .yml, or if, without ``force``, a file of another kind would be overwritten.
        OSError
            If the file cannot be written.
        """
        check_output(Path(path), WEAR, ValueError, force=force)
        lines = write_yaml({name: float(f"{value:.6g}") for name, value in self.mapping.items()}).splitlines()
        notes = [
            f"not told: {self.why[name]}" if name in self.why else f"{100 * self.level:g} % interval {_span(*ends)}"
            for name, ends in self.intervals.items()
        ]
        head = f"# {self._lines()[0]}\n"
        write_text(Path(path), head + "".join(f"{line}  # {note}\n" for line, note in zip(lines, notes, strict=True)))


def fit_wear(
    swarm: Swarm,
    *,
    metrics: str | Sequence[str] | None = None,
    level: float = 0.9,
) -> FittedWear:
    """Fit how fast repeated tokens of each domain wear out, from runs that repeat them.

    Each metric is ``c + exp(b - sum_k a_k g(E_k)^p)``, or c minus it if more is better, with ``g(E) = E`` up to one epoch and
    ``g(E) = 1 + R_k (1 - exp(-(E - 1) / R_k))`` beyond. The repeats R_k of a domain are common to all metrics; c, b and a at least 0
    belong to each. The power p, common to all, lets new tokens lose value too, which would otherwise be taken for wear.

    Parameters
    ----------
    swarm : Swarm
        R runs whose tokens and budget are known. The more their epochs of a domain differ, also above 2, the better they tell its wear.
    metrics : str or sequence of str, optional
        Metrics to use; all that vary by default.
    level : float, default 0.9
        Coverage of the intervals.

    Returns
    -------
    FittedWear
        Its `mapping` is for ``solve(wear=...)``.

    Raises
    ------
    ValueError
        The tokens of the runs are unknown, they repeat nothing, a metric is unknown, there are fewer than 10 runs, or numbers are out of range.

    Notes
    -----
    Least squares by damped Gauss-Newton steps; metrics count by one over the variance of their noise. An interval has the repeats at which
    the sum of squares, with everything else fitted again, rises by less than a chi-squared quantile; noise that metrics of one run share
    widens it. In planted worlds with noise of a tenth of the effects, 90 % intervals held the truth in 85 % of domains (120 runs, 10 domains) and
    95 % (320 runs, 20 domains). A domain is not told if fewer than 5 runs read it at least twice, if no metric gains from it, or if the
    interval ends above 20 times the most repeats of a run. Wear was fitted at the size of the runs, and may differ for larger models.

    References
    ----------
    Muennighoff et al., "Scaling Data-Constrained Language Models" (arXiv 2305.16264).
    """
    began = perf_counter()
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}, expected a number between 0 and 1")
    if metrics is not None:
        swarm = swarm.select(metrics)
    epochs = _epochs(swarm)
    sign = np.array([-1.0 if way == "max" else 1.0 for way in swarm.direction])
    used = [j for j in range(len(swarm.metrics)) if _varies(swarm.values[:, j])]
    if not used:
        raise ValueError("no metric has different values in at least 10 runs: there is nothing to fit wear to")
    values = swarm.values[:, used] * sign[used]
    repeated, most = (epochs >= _TWICE).sum(axis=0), epochs.max(axis=0)
    height = NormalDist().inv_cdf(0.5 + 0.5 * level) ** 2
    # Where hardly any run repeats, the profile is flat.
    ends = np.tile([wear_fit.LEAST, 1.0], (len(swarm.domains), 1))
    with single_blas():
        fitted = wear_fit.fit(epochs, values, _POWERS, 1.0 / (1.0 + MEASURED))
        pooled_ends = wear_fit.interval(fitted, None, height)
        worth = np.flatnonzero((repeated >= _RUNS) & wear_fit.valued(fitted.single)).tolist()
        for k in tracked(worth, "computing the intervals of wear", len(worth), "domain"):
            ends[k] = wear_fit.interval(fitted, k, height)
    high, low = _repeats(ends).T
    pooled_high, pooled_low = _repeats(pooled_ends)
    why = _reasons(swarm.domains, repeated, most, high, wear_fit.valued(fitted.single))
    return FittedWear(
        domains=swarm.domains,
        repeats=_repeats(fitted.single.v),
        low=low,
        high=high,
        told={name: name not in why for name in swarm.domains},
        why=why,
        pooled=float(_repeats(fitted.pooled.v[0])),
        pooled_low=float(pooled_low),
        pooled_high=float(pooled_high),
        power=fitted.runs.power,
        level=float(level),
        metrics=tuple(swarm.metrics[j] for j in used),
        runs=len(swarm),
        repeated=repeated,
        most=most,
        seconds=perf_counter() - began,
    )


def _epochs(swarm: Swarm) -> Any:
    epochs = swarm.epochs
    if epochs is None:
        raise ValueError(
            "wear is a matter of epochs, and the tokens available to the runs are unknown: "
            + either(
                "give Swarm(..., tokens={domain: tokens in the pool of the runs}, budget=tokens that a run reads)",
                "add --run-tokens FILE and --run-budget TOKENS",
            )
        )
    if len(swarm) < 10:
        raise ValueError(f"wear is fitted to at least 10 runs, got {len(swarm)}")
    if not (epochs >= _TWICE).any():
        raise ValueError(
            f"no run reads a domain twice (at most {epochs.max():.2f} epochs): these runs cannot tell wear. Train proxies on smaller pools, as "
            f"{either('design(..., proxy_budget=)', 'mixfast design --proxy-budget')} plans them"
        )
    return epochs


def _varies(values: Vector) -> bool:
    seen = values[np.isfinite(values)]
    return len(seen) >= 10 and bool(np.abs(seen).max() < LARGEST) and bool(np.ptp(seen) > 1e-12 * np.abs(seen).max())


def _repeats(v: Any) -> Any:
    """Return repeats of v = 1 / (1 + repeats)."""
    given = np.asarray(v, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.where(given > 0.0, 1.0 / given - 1.0, np.inf)


def _reasons(domains: tuple[str, ...], repeated: Any, most: Vector, high: Vector, valued: Any) -> dict[str, str]:
    why: dict[str, str] = {}
    for k, name in enumerate(domains):
        if repeated[k] < _RUNS:
            few = (
                "no run reads it twice"
                if not repeated[k]
                else f"only {repeated[k]} of the {_RUNS} needed runs read it twice"
            )
            why[name] = f"{few} (most {most[k]:.1f} epochs)"
        elif not valued[k]:
            why[name] = "no metric gains from it"
        elif not high[k] <= _BEYOND * (most[k] - 1.0):
            why[name] = "the interval has no upper end in these runs"
    return why


def _span(low: float, high: float) -> str:
    return f"{low:.3g} - {high:.3g}"
