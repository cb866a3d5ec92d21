"""redundancy(): test what ensemble features add to the shares, and whether that lowers the error out of sample."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._text.names import listing, positions, shown
from mixfast.errors import AlignmentError
from mixfast.laws import Ridge, mean_known, spearman, standardised
from mixfast.mde._features import Features

# Added to a share before its logarithm is taken: a share below a thousandth of the tokens has almost no effect.
_SEEN = 1e-3
# The result of one split depends on chance; results are averages over this many splits.
_REPEATS = 5
_FEWEST_RUNS = 6
# "use" needs a gain of squared error above 2 standard errors and above 2 %.
_CLEAR, _WORTH = 2.0, 0.02
# The compared inputs: shares alone first, shares and features last.
_OF_A_LAW = ("shares", "shares + features")
_OF_RIDGES = ("shares", "shares + log-shares", "features", "shares + features")


@dataclass(frozen=True, eq=False)
class Redundancy:
    """What features add to the shares, in sample and out of sample; `str()` gives the advice as text.

    Attributes
    ----------
    advice : {"use", "leave out", "unclear"}
    gain, gain_error : float
        How much lower the out-of-fold squared error is with the inputs [shares | features], relative to the best inputs without
        features: mean over metrics and runs, and its standard error over runs. Above 0 the features help.
    rank, rank_left : float
        Effective rank (exponential of the entropy of the fractions of variance) of the F standardised features, and of their
        residuals after regression on shares and log-shares.
    r2, r2_log : (F,) float64
        Leave-one-out R^2 of each feature regressed on the shares, and on shares and log-shares. Near 1: the feature adds nothing.
    metrics : tuple of J str
    variants : tuple of V str
        The compared inputs; the last is "shares + features".
    baseline : str
        The best inputs without features.
    rmse, spearman : (V, J) float64
        Out of fold, averages over the splits. NaN if a metric has too few runs.
    runs : int
    names : tuple of F str
    """

    advice: str
    gain: float
    gain_error: float
    rank: float
    rank_left: float
    r2: Vector
    r2_log: Vector
    metrics: tuple[str, ...]
    variants: tuple[str, ...]
    baseline: str
    rmse: Matrix
    spearman: Matrix
    runs: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        verdict = {
            "use": "use the features: they lower the error on unseen mixtures",
            "leave out": "leave the features out: they do not lower the error on unseen mixtures",
            "unclear": "unclear: the gain is within its noise; more runs would decide, and without them the shares alone are simpler",
        }[self.advice]
        lines = [
            verdict,
            f"  squared error saved out of fold, against {self.baseline}: {100 * self.gain:.1f} % +- {100 * self.gain_error:.1f} % "
            f"({self.runs} runs, {len(self.metrics)} metrics)",
            f"  {len(self.names)} features have an effective rank of {self.rank:.1f}; "
            f"{self.rank_left:.1f} after regression on shares and log-shares",
            f"  median R^2 of a feature: {np.median(self.r2):.4f} on the shares, {np.median(self.r2_log):.4f} on shares and log-shares",
        ]
        for v, variant in enumerate(self.variants):
            lines.append(
                f"  {variant:19s}  mean Spearman {mean_known(self.spearman[v]):.3f}, mean RMSE {mean_known(self.rmse[v]):.5f}"
            )
        return "\n".join(lines)


def redundancy(features: Features, swarm: Any, *, law: Any = "linear", folds: int = 5, seed: int = 0) -> Redundancy:
    """Test whether features help: compare laws of [shares | features] with laws of the shares alone, out of sample.

    Parameters
    ----------
    features : Features
        Of the runs of `swarm`, in its order.
    swarm : Swarm, or (R, J) array
        An object with `values` (R, J; NaN if a run lacks a metric) and `metrics`; or the values themselves. If it has `ratios`, these
        must equal those of the features.
    law : "linear" or a law, default "linear"
        "linear" is a ridge regression on standardised columns, with a penalty chosen by leave-one-out for each metric; the features are
        also compared with log-shares, which need no experts. A law is an object with ``fit(x, y)`` and ``predict(x)``; it is copied, and
        fitted to inputs with K and with K + F columns.
    folds : int, default 5
        Folds of the cross-validation, which is averaged over 5 splits. Runs with the same mixture stay in one fold.
    seed : int, default 0
        Seed of the splits.

    Returns
    -------
    Redundancy

    Raises
    ------
    AlignmentError
        Features and swarm have different runs.
    ValueError
        Too few runs, or folds out of range.

    Notes
    -----
    Run this test before using features. In one replication, the features of 900 validation sets were almost a function of the shares
    (median R^2 .9998 on log-exposure, effective rank about 22), and made the ranking of mixtures worse: .86 against .914. Standard
    errors are over runs and do not include the variation of the fitted laws.

    References
    ----------
    Belenki et al. (arXiv 2502.15950), where features helped; the replication in issue 6326 of marin-community/marin, where they did not.
    Roy and Vetterli, "The effective rank" (EUSIPCO 2007).

    Examples
    --------
    >>> import numpy as np
    >>> from mixfast import ExpertTable, mde
    >>> rng = np.random.default_rng(0)
    >>> table = ExpertTable.from_loglik(np.log(rng.dirichlet(np.ones(3), 50)), domains=["a", "b", "c"])
    >>> ratios = rng.dirichlet(np.ones(3), 30)
    >>> found = mde.features(table, ratios)
    >>> mde.redundancy(found, ratios @ [[1.0], [2.0], [3.0]]).advice
    'leave out'
    """
    values, metrics = _values(features, swarm)
    runs = values.shape[0]
    if runs < _FEWEST_RUNS:
        raise ValueError(f"there are {runs} runs; to test whether features help, at least {_FEWEST_RUNS} are needed")
    fold_of = _folds(features.ratios, folds, seed)
    logs = np.hstack([features.ratios, np.log(features.ratios + _SEEN)])
    variants = _OF_RIDGES if isinstance(law, str) else _OF_A_LAW
    known = dict(zip(_OF_RIDGES, (features.ratios, logs, features.values, features.matrix()), strict=True))
    inputs = [known[variant] for variant in variants]
    squares = np.zeros((len(inputs), *values.shape))
    rmse, ranks = (np.zeros((len(inputs), values.shape[1])) for _ in range(2))
    for split in fold_of:
        for v, x in enumerate(inputs):
            error = np.full(values.shape, np.nan)
            for fold in range(split.max() + 1):
                rest, out = split != fold, split == fold
                error[out] = _fit_predict(law, x[rest], values[rest], x[out]) - values[out]
            squares[v] += error**2 / len(fold_of)
            for j in range(values.shape[1]):
                seen = np.isfinite(error[:, j])
                enough = np.count_nonzero(seen) >= _FEWEST_RUNS
                rmse[v, j] += np.sqrt(np.mean(error[seen, j] ** 2)) / len(fold_of) if enough else np.nan
                predicted = values[seen, j] + error[seen, j]
                ranks[v, j] += spearman(predicted, values[seen, j]) / len(fold_of) if enough else np.nan
    rivals = [v for v, variant in enumerate(variants) if "features" not in variant]
    best = max(rivals, key=lambda v: _gain(squares[0], squares[v])[0])
    gain, gain_error = _gain(squares[best], squares[-1])
    r2, _ = _left(features.ratios, features.values)
    r2_log, left = _left(logs, features.values)
    clear = gain > _WORTH and gain > _CLEAR * gain_error
    advice = "use" if clear else "leave out" if gain <= max(_WORTH, gain_error) else "unclear"
    rank, rank_left = _effective_rank(standardised(features.values)[0]), _effective_rank(left)
    return Redundancy(
        advice,
        gain,
        gain_error,
        rank,
        rank_left,
        r2,
        r2_log,
        metrics,
        variants,
        variants[best],
        rmse,
        ranks,
        runs,
        features.names,
    )


def _values(features: Features, swarm: Any) -> tuple[Matrix, tuple[str, ...]]:
    """Return the metrics (R, J) of the features' runs, and their names."""
    has_names = hasattr(swarm, "metrics")
    values = np.array(swarm.values if has_names else swarm, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    runs = features.ratios.shape[0]
    if values.ndim != 2 or values.shape[0] != runs:
        raise AlignmentError(
            f"the metrics have the shape {values.shape}, expected ({runs}, metrics): one row for each run of the features"
        )
    if hasattr(swarm, "ratios"):
        if set(swarm.domains) != set(features.domains):
            raise AlignmentError.between("the swarm", swarm.domains, "the features", features.domains)
        order = positions(features.domains, swarm.domains)
        apart = np.abs(np.asarray(swarm.ratios)[:, order] - features.ratios).max(axis=1)
        if apart.max() > 1e-9:
            raise AlignmentError(
                f"the features were computed for other mixtures than the swarm's: runs {listing(np.flatnonzero(apart > 1e-9).tolist())} differ; "
                "compute them again with mde.features(table, swarm)"
            )
    values[~np.isfinite(values)] = np.nan
    names = tuple(swarm.metrics) if has_names else tuple(f"metric_{j}" for j in range(values.shape[1]))
    return values, names


def _folds(ratios: Matrix, folds: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the fold of each run, for each split; runs with the same mixture are in the same fold."""
    unit = np.unique(ratios.round(6), axis=0, return_inverse=True)[1].reshape(-1)
    units = int(unit.max()) + 1
    if not folds >= 2:
        raise ValueError(f"folds is {folds}, expected at least 2")
    if units < 2:
        raise ValueError("all runs have the same mixture, so no law can be fitted: give runs of different mixtures")
    folds = min(folds, units)
    generator = np.random.default_rng(seed)
    repeats = 1 if folds == units else _REPEATS
    return [generator.permutation(units)[unit] % folds for _ in range(repeats)]


def _fit_predict(law: Any, x: Matrix, y: Matrix, at: Matrix) -> Matrix:
    if isinstance(law, str):
        if law != "linear":
            raise ValueError(f'law is {shown(law)}, expected "linear" or an object with fit and predict')
        out = np.full((at.shape[0], y.shape[1]), np.nan)
        present = np.isfinite(y)
        # Metrics that are known for the same runs share one decomposition.
        for pattern in np.unique(present.T, axis=0):
            if np.count_nonzero(pattern) < 2:
                continue
            which = np.flatnonzero((pattern == present.T).all(axis=1))
            out[:, which] = Ridge.of(x[pattern]).predict(y[np.ix_(pattern, which)], at)
        return out
    fitted = copy.deepcopy(law)
    fitted = fitted.fit(x, y) or fitted
    return np.asarray(fitted.predict(at), dtype=np.float64).reshape(at.shape[0], -1)


def _left(x: Matrix, y: Matrix) -> tuple[Vector, Matrix]:
    """Return the leave-one-out R^2 (F,) of columns y regressed on x, and the residuals of the standardised columns (R, F)."""
    target, _, _ = standardised(y)
    errors = np.stack(list(Ridge.of(x).left_out(target)))
    best = (errors**2).sum(axis=1).argmin(axis=0)
    left = errors[best, :, np.arange(y.shape[1])].T
    spread = (target**2).sum(axis=0)
    return np.where(spread > 0.0, 1.0 - (left**2).sum(axis=0) / np.maximum(spread, 1e-300), 1.0), left


def _effective_rank(x: Matrix) -> float:
    variance = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    if variance.sum() <= 0.0:
        return 0.0
    share = variance[variance > 0.0] / variance.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _gain(before: Matrix, after: Matrix) -> tuple[float, float]:
    """Return the mean relative reduction of squared error, with equal weights of the metrics, and its standard error over runs."""
    count = np.isfinite(before).sum(axis=0)
    level = np.where(np.isfinite(before), before, 0.0).sum(axis=0) / np.maximum(count, 1)
    usable = level > 0.0
    if not usable.any():
        return 0.0, 0.0
    saved = (before[:, usable] - after[:, usable]) / level[usable]
    saved = saved[np.isfinite(saved).any(axis=1)]
    saved = np.nanmean(saved, axis=1)
    return float(saved.mean()), float(saved.std(ddof=1) / np.sqrt(saved.size))
