"""Boosted: gradient-boosted trees with the settings of RegMix; cross-validation, not the test set, decides when to stop."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend import each
from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.audience import either
from mixfast._text.names import shown
from mixfast._text.optional import needed
from mixfast.errors import BackendError
from mixfast.laws._protocol import State
from mixfast.laws._trees import MOST_LEAVES, Forest
from mixfast.swarm import mixture_of

__all__ = ["Boosted"]

# Training stops after this many rounds without a lower cross-validated error. At a rate of 0.01 one round changes the error by less than
# its noise, so waiting for only 3 rounds, as RegMix's notebook does, stops at the first random increase.
_PATIENCE = 20

# Every fold costs as much as the fit itself. With few runs, more folds are used, which leave more runs for training.
_FOLDS, _FOLDS_OF_FEW, _FEW = 5, 10, 100

# For fewer mixtures than this, such as those of a fold, LightGBM's own prediction is faster than converting its trees to arrays.
_FEW_TO_PREDICT = 256

# LightGBM computes in float32, whose range ends at 1e38; the squares of these limits are inside.
_SMALL, _LARGE = 1e-15, 1e15

_SETTINGS = ("rounds", "rate", "leaves", "min_leaf", "stopping", "seed")


@dataclass(frozen=True)
class _Trained:
    """A LightGBM model, how many of its rounds are used, the number of its input columns, and its unit."""

    booster: Any
    rounds: int
    width: int
    unit: float  # the divisor of the metric

    def predict(self, x: Matrix) -> Vector:
        """Return the metric (M,) at inputs (M, width)."""
        if x.shape[1] != self.width:
            raise ValueError(
                f"the inputs have the shape {x.shape}, expected (M, {self.width}), with the columns of the runs"
            )
        return self.unit * np.asarray(
            self.booster.predict(x, num_iteration=self.rounds, num_threads=1), dtype=np.float64
        )

    def text(self) -> str:
        """Return the model in LightGBM's text format."""
        return str(self.booster.model_to_string(num_iteration=self.rounds))


class Boosted:
    """Predict metrics by gradient-boosted trees (LightGBM), one ensemble for each metric.

    The prediction is ``sum_t leaf_t(x)``: trees fitted by squared error, each to the residuals of the trees before it.

    Parameters
    ----------
    rounds : int, default 1000
        Maximum number of trees for each metric.
    rate : float, default 0.01
        Learning rate: the fraction of each tree's prediction that is added.
    leaves : int, default 31
        Maximum number of leaves of one tree, 2 to 64.
    min_leaf : int or "auto", default "auto"
        Minimum number of runs in a leaf. "auto" is a twelfth of the runs, but at least 2 and at most 20. On four metrics of RegMix, 20
        (LightGBM's default) was best with 512 runs, 5 to 8 with 64 and 128 runs, and 2 with 25 runs, where 20 would allow no split.
    stopping : {"cv", "none"} or int, default "cv"
        How many of the rounds are kept. "cv": the number with the smallest cross-validated error; the search ends after
        20 rounds without improvement. An integer replaces the 20 (RegMix's notebook uses 3, but stops
        by the error on the test set). "none": all rounds.
    seed : int, default 42
        Seed of the folds and of LightGBM.

    Attributes
    ----------
    best_rounds : ndarray (J,), int64
        Number of rounds kept, set by `fit`.

    Raises
    ------
    ValueError
        For settings out of range; in `fit` if a metric has fewer than ``2 * min_leaf`` runs, or fewer than 4.
    BackendError
        In `fit` without LightGBM; in `predict` for many mixtures without Numba.

    Notes
    -----
    For each metric, `fit` trains 5 models for the folds (10 with fewer than 100 runs) and one final model, each on one
    thread, so the same seed gives the same trees for any number of threads. LightGBM is not needed after `fit`:
    the trees are plain arrays, evaluated about thirty times faster than by LightGBM, with bitwise equal results. Trees are constant
    between thresholds, so there is no gradient, and outside the range of the runs the nearest value is repeated.

    `sd` is one number for each metric, the root mean square of the cross-validated errors. It includes noise and the errors of
    the trees for mixtures similar to the runs. It does not grow away from the runs.

    References
    ----------
    Liu et al., "RegMix: Data Mixture as Regression for Language Model Pre-training" (arXiv 2407.01492), section 3.
    Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree" (NeurIPS 2017).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], 64)
    >>> law = Boosted(rounds=200, rate=0.05).fit(x, np.exp(-x[:, :1]))
    >>> law.predict([[0.1, 0.4, 0.5], [0.8, 0.1, 0.1]]).round(1).tolist()
    [[0.9], [0.5]]
    """

    name = "lightgbm"
    packages: tuple[str, ...] = ("lightgbm",)
    uses_features = True

    rounds: int
    rate: float
    leaves: int
    seed: int
    best_rounds: NDArray[np.int64]

    def __init__(
        self,
        *,
        rounds: int = 1000,
        rate: float = 1e-2,
        leaves: int = 31,
        min_leaf: int | Literal["auto"] = "auto",
        stopping: int | Literal["cv", "none"] = "cv",
        seed: int = 42,
    ) -> None:
        if rounds < 1:
            raise ValueError(f"rounds is {rounds}, expected a count of at least 1")
        if not 0.0 < rate <= 1.0:
            raise ValueError(f"rate is {rate}, expected a number above 0 and at most 1")
        if not 2 <= leaves <= MOST_LEAVES:
            raise ValueError(f"leaves is {leaves}, expected a count from 2 to {MOST_LEAVES}")
        if not _is_count_or(min_leaf, "auto"):
            raise ValueError(f'min_leaf is {shown(min_leaf)}, expected "auto" or a count of at least 1')
        if not _is_count_or(stopping, "cv", "none"):
            raise ValueError(f'stopping is {shown(stopping)}, expected "cv", "none" or a count of rounds of at least 1')
        self.rounds, self.rate, self.leaves = int(rounds), float(rate), int(leaves)
        self.min_leaf, self.stopping, self.seed = min_leaf, stopping, int(seed)
        self._forest: Forest | None = None
        self._trained: Sequence[_Trained] | None = None

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Return a copy fitted to runs: inputs (R, K [+ F]) and metrics (R, J), NaN where a run has no value.

        Raises
        ------
        ValueError
            If a metric has too few runs for two leaves.
        BackendError
            If LightGBM is not installed.
        """
        return self._fitted_to(x, y, [None] * y.shape[1])

    def refit(self, x: Matrix, y: Matrix, columns: Sequence[int]) -> Self:
        """Fit the law to some of its own runs, metrics (R', len(columns)), with the numbers of rounds chosen on all runs.

        This trains one model for each metric instead of six. The cross-validated errors remain those of all runs.
        """
        known = [(int(self.best_rounds[j]), float(self._spread[j])) for j in columns]
        return self._fitted_to(x, y, known)

    def _fitted_to(self, x: Matrix, y: Matrix, known: Sequence[tuple[int, float] | None]) -> Self:
        """Return a copy fitted to runs; rounds and error are computed for metrics where ``known`` is None."""
        with needed("fitting boosted trees", "LightGBM", "mixfast[laws]", BackendError):
            import lightgbm
        x, y = np.ascontiguousarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)

        def one(metric: int) -> tuple[_Trained, int, float]:
            have = ~np.isnan(y[:, metric])
            return self._fit_one(lightgbm, x[have], y[have, metric], metric, known[metric])

        models, rounds, spread = zip(*each(one, range(y.shape[1])), strict=True)
        fitted = copy.copy(self)
        fitted._trained, fitted._forest = models, None
        fitted.best_rounds = np.array(rounds, dtype=np.int64)
        fitted._spread = np.array(spread, dtype=np.float64)
        return fitted

    def predict(self, x: Matrix) -> Matrix:
        """Return the metrics (M, J) at inputs (M, K [+ F])."""
        x = np.asarray(x, dtype=np.float64)
        if self._forest is None and self._trained is not None and x.ndim == 2 and len(x) < _FEW_TO_PREDICT:
            return np.column_stack([one.predict(x) for one in self._trained])
        forest = self._fitted()
        width = forest.grid_start.size - 1
        if x.ndim != 2 or x.shape[1] != width:
            raise ValueError(
                f"the inputs have the shape {x.shape}, expected (M, {width}), with the columns of the runs"
            )
        return forest.predict(x)

    def sd(self, x: Matrix) -> Matrix:
        """Return standard deviations (M, J) of a new run's metrics: the cross-validated error, the same at every input."""
        if self._trained is None:
            self._fitted()
        return np.tile(self._spread, (np.asarray(x).shape[0], 1))

    def state(self) -> State:
        """Return settings, rounds, errors and trees as numbers, strings and arrays."""
        return {
            **{name: getattr(self, name) for name in _SETTINGS},
            "best_rounds": self.best_rounds,
            "spread": self._spread,
            **self._fitted().state(),
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild the law from what `state` returned."""
        state = dict(state)
        law = cls(**{key: state.pop(key) for key in _SETTINGS})
        law.best_rounds, law._spread = np.asarray(state.pop("best_rounds")), np.asarray(state.pop("spread"))
        law._forest = Forest.from_state(state)
        if not len(law.best_rounds) == len(law._spread) == law._forest.metric_start.size - 1:
            raise ValueError("rounds, errors and trees are for different numbers of metrics")
        return law

    _spread: Vector

    def _fitted(self) -> Forest:
        if self._forest is None and self._trained is not None:
            models, units = zip(*((one.text(), one.unit) for one in self._trained), strict=True)
            self._forest = Forest.of(models, self._trained[0].width, units)
            self._trained = None
        if self._forest is None:
            raise ValueError("this law is not fitted yet; call fit(x, y) and use the law that it returns")
        return self._forest

    def _fit_one(
        self, lightgbm: ModuleType, x: Matrix, y: Vector, metric: int, known: tuple[int, float] | None
    ) -> tuple[_Trained, int, float]:
        """Return the model of one metric, its number of rounds, and its cross-validated error."""
        runs = y.size
        least = min(20, max(2, runs // 12)) if self.min_leaf == "auto" else int(self.min_leaf)
        if runs < max(2 * least, 4):
            raise ValueError(
                f"metric {metric} (column of y, from 0) has {runs} runs, expected at least {max(2 * least, 4)}: two leaves need "
                f"{least} runs each (min_leaf), cross-validation needs 4; add runs or {either('lower min_leaf', 'fit another --law')}"
            )
        settings = {
            "objective": "regression",
            "metric": "l2",
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": least,
            # LightGBM's default of 3 would merge runs that smaller leaves could separate.
            "min_data_in_bin": min(3, least),
            "seed": self.seed,
            # Another order of summation changes the last bits of sums, and thereby the trees.
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        unit = _unit(y)
        y = y / unit
        kept, error = self._validated(lightgbm, settings, x, y) if known is None else known
        error = unit * error if known is None else error
        # `lightgbm.train` would also write the model as text and parse it again.
        booster = lightgbm.Booster(settings, lightgbm.Dataset(x, y, params=settings))
        for _ in range(kept):
            booster.update()
        return _Trained(booster, kept, x.shape[1], unit), kept, error

    def _validated(self, lightgbm: ModuleType, settings: dict[str, object], x: Matrix, y: Vector) -> tuple[int, float]:
        """Return the number of rounds with the smallest cross-validated error, and the root of that mean squared error."""
        runs = y.size
        mixture = mixture_of(x)
        mixtures = int(mixture.max()) + 1
        folds = min(_FOLDS if runs >= _FEW else _FOLDS_OF_FEW, mixtures)
        of = np.empty(mixtures, dtype=np.int64)
        of[np.random.default_rng(self.seed).permutation(mixtures)] = np.arange(mixtures) % folds
        fold = of[mixture]
        boosters = []
        for out in range(folds):
            train = lightgbm.Dataset(x[fold != out], y[fold != out], params=settings)
            booster = lightgbm.Booster(settings, train)
            held_out = lightgbm.Dataset(x[fold == out], y[fold == out], reference=train, params=settings)
            booster.add_valid(held_out, "held out")
            boosters.append(booster)
        share = np.bincount(fold) / runs
        patience = (
            self.rounds if self.stopping == "none" else _PATIENCE if self.stopping == "cv" else int(self.stopping)
        )
        best, least = 1, np.inf
        for done in range(1, self.rounds + 1):
            for booster in boosters:
                booster.update()
            if self.stopping == "none" and done < self.rounds:
                continue
            error = float(sum(s * booster.eval_valid()[0][2] for s, booster in zip(share, boosters, strict=True)))
            if error < least:
                best, least = done, error
            elif done - best >= patience:
                break
        return best, float(np.sqrt(least))


def _unit(y: Vector) -> float:
    """Return a power of two that scales values into the range of LightGBM's float32; 1 if they are well inside."""
    largest = float(np.abs(y).max())
    return 1.0 if largest == 0.0 or _SMALL < largest < _LARGE else math.ldexp(1.0, math.frexp(largest)[1])


def _is_count_or(value: int | str, *words: str) -> bool:
    return value in words if isinstance(value, str) else int(value) == value and value >= 1
