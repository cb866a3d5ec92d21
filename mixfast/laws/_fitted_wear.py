"""FittedWear: what `fit_wear` answers, as tables, mappings and files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast._engine.objectives.wear import MEASURED
from mixfast._text.atomic import write_text
from mixfast._text.audience import either
from mixfast._text.frames import data_frame
from mixfast._text.frozen import Frozen
from mixfast._text.names import counted, listing
from mixfast._text.notebook import html_table
from mixfast._text.outputs import WEAR, check_output
from mixfast._text.table import text_table
from mixfast._text.yaml import write_yaml
from mixfast.errors import BackendError
from mixfast.region import DEFAULT_MAX_EPOCHS

# The forms of wear, and what a number of each means.
FORMS = {
    "fade": "repeats after which a token is worth 1/e of a new one",
    "threshold": "epochs up to which tokens count fully; later ones count nothing",
}
# The smallest number of each form: no interval ends below. An interval that begins there has no lower end in the runs.
LEAST = {"fade": 0.0, "threshold": 1.0}
# The search ends this far above it.
SEARCHED = 0.05


@dataclass(frozen=True, eq=False, repr=False)
class FittedWear(Frozen):
    """How fast repeated tokens of each domain wear out.

    Attributes
    ----------
    domains : tuple of str
    form : str
        What a number means. "fade": the repeats after which a token is worth 1/e of a new one. "threshold": the epochs up to which the domain counts
        fully; later ones count nothing.
    fitted : (K,) float64
        The number of each domain; infinite if the runs show no wear. The search ends at 0.05 repeats and at 1.05 epochs.
    low, high : (K,) float64
        Ends of the intervals of `fitted`. Where the runs do not exclude the end of the search, `low` is 0 repeats, or 1 epoch. `high` is infinite
        where they do not exclude that repeats count fully.
    told : dict of str to bool
        Whether the runs tell the wear of a domain.
    why : dict of str to str
        The reason, for each domain whose wear is not told.
    pooled : float
        The number of a fit with one for all domains. If domains differ much, it need not lie between their numbers.
    pooled_low, pooled_high : float
        Its interval.
    power : float
        Exponent of effective epochs in the value of a domain: 1 means that new tokens do not lose value with their number.
    residual : float
        Root mean square residual in standard deviations of the metrics. It is smaller for the form that fits better.
    level : float
        Coverage of the intervals.
    metrics : tuple of str
        The metrics that were used.
    runs : int
        The number of runs.
    diverged : tuple of str
        Runs that look diverged in some metric; these values were left out.
    repeated : (K,) int64
        Runs that read the domain at least twice.
    most : (K,) float64
        The most epochs of a run.
    seconds : float
    """

    domains: tuple[str, ...]
    form: str
    fitted: Vector
    low: Vector
    high: Vector
    told: dict[str, bool]
    why: dict[str, str]
    pooled: float
    pooled_low: float
    pooled_high: float
    power: float
    residual: float
    level: float
    metrics: tuple[str, ...]
    runs: int
    repeated: Vector = field(repr=False)
    most: Vector = field(repr=False)
    diverged: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def mapping(self) -> dict[str, float | str]:
        """The wear of each domain, for ``solve(wear=...)``: a number of repeats, or of a threshold a text such as "4.2 epochs".

        Where it is not told, it is the number in the interval that is nearest to `common`.
        """
        numbers = {name: float(number) for name, number in zip(self.domains, self._numbers(), strict=True)}
        if self.form == "fade":
            return {**numbers}
        return {name: f"{number:.6g} epochs" for name, number in numbers.items()}

    def _numbers(self) -> Vector:
        told = np.array([self.told[name] for name in self.domains])
        return np.where(told, self.fitted, np.clip(self.common, self.low, self.high))

    @property
    def common(self) -> float:
        """The number for domains that are not told: the median of those that are. If none is, the published 15.4 repeats, or a threshold of 4 epochs."""
        told = [number for name, number in zip(self.domains, self.fitted.tolist(), strict=True) if self.told[name]]
        if told:
            return float(np.exp(np.median(np.log(told))))
        return MEASURED if self.form == "fade" else DEFAULT_MAX_EPOCHS

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Interval (low, high) of each domain's number; see `low` and `high` for ends that the runs do not tell."""
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
        order = sorted(range(len(self.domains)), key=lambda k: (not self.told[self.domains[k]], self.fitted[k]))
        rows = [
            [
                "domain",
                "wear" if self.form == "fade" else "threshold",
                f"{100 * self.level:g}% interval",
                "most epochs",
                "runs that repeat",
                "not told because",
            ]
        ]
        for k in order:
            name = self.domains[k]
            wear = self._number(self.fitted[k]) if self.told[name] else "not told"
            span = self._span(self.low[k], self.high[k])
            rows.append([name, wear, span, f"{self.most[k]:.1f}", str(int(self.repeated[k])), self.why.get(name, "")])
        return rows

    def _lines(self) -> list[str]:
        shape = (
            ""
            if self.power == 1.0
            else f"; new tokens lose value too: a domain is worth its effective epochs to the power {self.power:g}"
        )
        other = next(form for form in FORMS if form != self.form)
        way = either(f"form='{other}'", f"--form {other}")
        lines = [
            f"{'wear' if self.form == 'fade' else 'threshold'}: {FORMS[self.form]}, from {self.runs} runs and {counted(len(self.metrics), 'metric')}{shape}",
            f"one number fitted to all domains: {self._number(self.pooled)}, interval {self._span(self.pooled_low, self.pooled_high)}",
            f"residual: {self.residual:.3g} standard deviations of the metrics; compare it with that of {way}: the form with the smaller one fits better",
        ]
        if self.diverged:
            lines.append(f"left out, because they look diverged: values of {listing(self.diverged, limit=5)}")
        if not all(self.told.values()):
            alone = "as published for web text" if self.form == "fade" else "the usual limit"
            what = "the median of the others" if any(self.told.values()) else alone
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
            "wear": self.fitted.copy(), "low": self.low.copy(), "high": self.high.copy(), "told": list(self.told.values()),
            "most": self.most.copy(), "repeated": self.repeated.copy(),
        }  # fmt: skip
        return data_frame(columns, self.domains, "domain", BackendError)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, strings, lists and dicts, for JSON."""
        return {
            "form": self.form,
            "wear": self.mapping,
            "fitted": dict(zip(self.domains, self.fitted.tolist(), strict=True)),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "told": dict(self.told),
            "why": dict(self.why),
            "pooled": self.pooled,
            "pooled_interval": [self.pooled_low, self.pooled_high],
            "power": self.power,
            "residual": self.residual,
            "level": self.level,
            "metrics": list(self.metrics),
            "runs": self.runs,
            "diverged": list(self.diverged),
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
        wear = {
            name: value if isinstance(value, str) else float(f"{value:.6g}") for name, value in self.mapping.items()
        }
        lines = write_yaml(wear).splitlines()
        notes = [
            f"not told: {self.why[name]}"
            if name in self.why
            else f"{100 * self.level:g} % interval {self._span(*ends)}"
            for name, ends in self.intervals.items()
        ]
        head = f"# {self._lines()[0]}\n"
        write_text(Path(path), head + "".join(f"{line}  # {note}\n" for line, note in zip(lines, notes, strict=True)))

    def _number(self, value: float) -> str:
        """Return a fitted number as text; at the bounds of the search it is open."""
        if value <= LEAST[self.form] + SEARCHED + 1e-9:
            return f"at most {LEAST[self.form] + SEARCHED:g}"
        return "endless" if math.isinf(value) else f"{value:.3g}"

    def _span(self, low: float, high: float) -> str:
        """Return an interval as text; ends that the runs do not tell are left out."""
        if low <= LEAST[self.form]:
            return "any" if math.isinf(high) else f"below {high:.3g}"
        return f"above {low:.3g}" if math.isinf(high) else f"{low:.3g} - {high:.3g}"
