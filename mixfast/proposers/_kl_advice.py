"""advise_kl(): choose the weight of the KL term by cross-validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Vector
from mixfast.laws import Objective, Target, in_run_of, resolve
from mixfast.proposers._path import path
from mixfast.proposers._propose import metrics_at
from mixfast.proposers._task import shares_of
from mixfast.region import Region


@dataclass(frozen=True, eq=False)
class KlAdvice:
    """Scores of proposals with several weights of the KL term, under laws fitted to the other runs.

    Attributes
    ----------
    kl : float
        The largest weight whose mean score is within one standard error of the best.
    best : float
        The weight with the best mean score.
    kls, scores, errors : ndarray
        The weights, the mean objective over the folds (without the KL term), and the standard error of its difference to the best.
    """

    kl: float
    best: float
    kls: Vector
    scores: Vector
    errors: Vector


def advise_kl(
    refit: Callable[[Any], Any],
    runs: int,
    region: Region,
    kls: Sequence[float],
    *,
    objective: Objective = None,
    repeats: int = 8,
    seed: int = 0,
    **options: Any,
) -> KlAdvice:
    """Choose the weight of the KL term: propose from one half of the runs, and score the proposal with a law fitted to the other half.

    Parameters
    ----------
    refit : callable
        Takes an index array of runs and returns the law fitted to them:
        ``lambda rows: mixfast.fit(swarm.subset(rows), "log_linear", folds=0)``.
    runs : int
        Number of runs.
    region, objective, options
        As for `propose`.
    kls : sequence of float
        Weights to compare.
    repeats : int, default 8
        Number of random splits into halves; each half is used once to propose and once to score.
    seed : int
        Seed of the splits.

    Returns
    -------
    KlAdvice

    Notes
    -----
    Each law is fitted to half of the runs only, so the advised weight tends to be larger than needed for all runs. The rule of one standard
    error also prefers larger weights.
    """
    kls = [float(kl) for kl in kls]
    if not kls:
        raise ValueError("kls is empty, expected at least one weight of the KL term")
    if runs < 4 or repeats < 1:
        raise ValueError(f"runs is {runs} and repeats {repeats}, expected at least 4 runs and 1 split")
    rng = np.random.default_rng(seed)
    rows: list[Vector] = []
    for _ in range(repeats):
        order = rng.permutation(runs)
        halves = np.sort(order[: runs // 2]), np.sort(order[runs // 2 :])
        laws = [refit(half) for half in halves]
        for fitted, other in (laws, laws[::-1]):
            proposals = path(fitted, region, kls, objective=objective, **options)
            judge = in_run_of(other, region)
            points = np.stack([p.mixture.align(judge.domains).weights for p in proposals])
            target = _scored_by(judge, region, objective, options)
            rows.append(target.score(np.asarray(judge.predict(points), dtype=np.float64)))
    table = np.array(rows)
    scores = table.mean(axis=0)
    best = int(scores.argmin())
    difference = table - table[:, [best]]
    # The two proposals of one split share their runs, so they count as one sample.
    errors = difference.std(axis=0, ddof=1) / math.sqrt(repeats) if len(rows) > 1 else np.zeros(len(kls))
    chosen = max(kl for kl, score, error in zip(kls, scores, errors, strict=True) if score <= scores[best] + error)
    return KlAdvice(chosen, kls[best], np.array(kls), scores, errors)


def _scored_by(judge: Any, region: Region, objective: Objective, options: Mapping[str, Any]) -> Target:
    """Return the objective under a law, with the scale and the reference that the proposals use."""
    scale, reference = options.get("scale"), options.get("reference")
    if scale is None:
        return resolve(objective, judge)
    domains = tuple(judge.domains)
    at = region.align(domains).prior if reference is None else shares_of("reference", reference, domains)
    return resolve(objective, judge, scale=scale, reference=metrics_at(judge, at))
