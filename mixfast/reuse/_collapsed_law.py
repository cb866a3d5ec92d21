"""Evaluate a law over all domains at collapsed mixtures: exact for every law, and convex if the law is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixfast._text.names import positions
from mixfast.errors import AlignmentError
from mixfast.laws import Fit, MetricReport, in_run_of
from mixfast.reuse._collapse import Collapse, Matrix


class _Asked(Protocol):
    """The methods that a law of single metrics and a whole fit share."""

    def predict(self, ratios: Matrix) -> ArrayLike: ...

    def sd(self, ratios: Matrix) -> ArrayLike: ...

    def slopes(self, ratios: Matrix) -> tuple[Matrix, NDArray[np.float64]]: ...


class _Collapsed:
    """Evaluate a law, of single metrics or of a whole fit, at the expanded mixtures."""

    def __init__(self, law: _Asked, spread: Matrix) -> None:
        self._law, self._spread = law, spread  # (C, K): shares of the law's domains in each collapsed domain

    def _whole(self, r: ArrayLike) -> Matrix:
        return np.atleast_2d(np.asarray(r, dtype=np.float64)) @ self._spread

    def predict(self, r: ArrayLike) -> Matrix:
        """Return the metrics (M, J) of collapsed mixtures (M, C)."""
        return np.asarray(self._law.predict(self._whole(r)))

    def sd(self, r: ArrayLike) -> Matrix:
        """Return standard deviations (M, J) of the metrics of collapsed mixtures."""
        return np.asarray(self._law.sd(self._whole(r)))

    def slopes(self, r: ArrayLike) -> tuple[Matrix, NDArray[np.float64]]:
        """Return metrics (M, J) and their gradients (M, J, C)."""
        values, gradients = self._law.slopes(self._whole(r))
        return values, np.asarray(gradients) @ self._spread.T


class _Part(_Collapsed):
    """The law of some metrics; a log-linear law keeps its form, with collapsed coefficients."""

    def __init__(self, law: Any, spread: Matrix) -> None:
        super().__init__(law, spread)
        self.name = law.name
        if law.name == "log_linear":
            self.a, self.gamma = np.asarray(law.a) @ spread.T, law.gamma


class CollapsedLaw(_Collapsed):
    """A fit over all domains as a fit over those of a `Collapse`, for `propose`."""

    domains: tuple[str, ...]
    metrics: tuple[str, ...]
    direction: tuple[str, ...]
    unit: tuple[str, ...]
    report: str
    smooth: bool
    reports: tuple[MetricReport, ...]
    spread: Mapping[str, float]
    doubted_directions: Mapping[str, str]
    identified: NDArray[np.bool_]
    constant: dict[str, float]

    def __init__(self, law: Fit, part: Collapse) -> None:
        if set(law.domains) != set(part.full.domains):
            raise AlignmentError.between("the law", law.domains, "the reuse plan", part.full.domains)
        law = in_run_of(law, part.full)
        order = positions(law.domains, part.full.domains)
        super().__init__(law, np.ascontiguousarray(part.matrix.T[:, order]))
        self._fit = law
        self.domains, self.metrics = part.domains, tuple(law.metrics)
        self.direction, self.unit = law.direction, law.unit
        self.report, self.smooth = law.report, law.smooth
        self.reports = getattr(law, "reports", ())
        self.spread, self.doubted_directions = getattr(law, "spread", {}), getattr(law, "doubted_directions", {})
        self.identified = self._spread @ np.asarray(law.identified, dtype=np.float64) > 0.0
        constant = dict(getattr(law, "constant", {}))
        share = np.array([constant.get(name, 0.0) for name in law.domains])
        still = np.array([name in constant for name in law.domains])
        # A collapsed domain has the same share in all runs if all its members have.
        self.constant = {
            name: float(share[row > 0.0].sum())
            for name, row in zip(self.domains, self._spread, strict=True)
            if (row > 0.0).any() and still[row > 0.0].all()
        }
        self._parts: dict[int, _Part] = {}

    def law_of(self, metric: str) -> tuple[_Part, int]:
        """Return the law of a metric, and the metric's column in it."""
        law, column = self._fit.law_of(metric)
        return self._parts.setdefault(id(law), _Part(law, self._spread)), column
