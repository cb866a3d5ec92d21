"""UtiliMax: utility against diversity within limits on epochs, solved to a certified gap."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixfast._engine.backend.arrays import Matrix, Vector
from mixfast._engine.geometry.limits import Limits
from mixfast._text.names import listing, shown
from mixfast.baselines._heuristics import Tokens, region_of
from mixfast.errors import AlignmentError, NotConvergedWarning, RegionError
from mixfast.mixture import Mixture
from mixfast.region import DEFAULT_MAX_EPOCHS, limits_over

# The answer is this close to the optimum, relative to the objective (which is about 1), or a warning says so.
_GAP = 1e-9
# Below this fraction of the largest possible distance, the mixture may have utility 1 in every task.
_NO_DISTANCE = 1e-6
# Distances that differ by less than this fraction are equal.
_SAME = 1e-14
_STEPS = 100


def utilimax(
    tokens: Tokens,
    budget: int | None = None,
    utilities: Any = None,
    *,
    max_epochs: float | Mapping[str, float] = DEFAULT_MAX_EPOCHS,
    risk: float = 1.0,
) -> Mixture:
    """Return the mixture with the best compromise of utility and diversity within a limit on epochs.

    It minimises ``||U'w - 1||_2 + risk * K * ||w||_2^2`` over the mixtures w that read no domain more than ``max_epochs`` times; U (K, T)
    are the utilities of K domains for T tasks. The first term is the distance from a mixture with utility 1 in every task; the second
    is 1 for equal shares and K for a single domain. If all utilities are equal, the answer is that of `unimax`.

    Parameters
    ----------
    tokens, budget, max_epochs
        As for `unimax`.
    utilities : mapping of str to number or to sequence or mapping, or array_like (K,) or (K, T)
        Utility of each domain for each task, such as the scaled result of a model trained on that domain alone; 1 is the utility of ideal
        data. Arrays are in the order of the domains. Utilities are used as given, without scaling.
    risk : number, default 1
        Weight of diversity, above 0.

    Raises
    ------
    RegionError, InfeasibleError
        As for `unimax`; or if utilities are missing, not finite or of the wrong shape, or ``risk`` is not above 0.
    AlignmentError
        If utilities are given by name, and the names are not those of the domains.

    Warns
    -----
    NotConvergedWarning
        If the answer cannot be certified to 1e-9 of the objective.

    Notes
    -----
    The paper describes the first term and a risk that grows with concentration. The factor K of the risk, and adding the norm rather than
    its square, follow a public implementation of the paper by other authors, because the authors have published no code that we know of.
    Solved exactly for a fixed distance t as a quadratic program, with ``||r||`` replaced by ``||r||^2 / (2t) + t/2``, and by a search for the
    t that equals the distance of its own solution.

    References
    ----------
    Held et al. 2025, "Optimizing Pretraining Data Mixtures with LLM-Estimated Utility", arXiv:2501.11747.

    Examples
    --------
    >>> tokens = {"web": 900, "code": 300, "books": 20}
    >>> mixture = utilimax(tokens, 1000, {"web": 0.2, "code": 0.9, "books": 0.5})
    >>> mixture["code"] > mixture["web"], round(mixture["books"], 9)
    (True, 0.08)
    """
    region = region_of(tokens, budget, max_epochs)
    values = _utilities(utilities, region.domains)
    if isinstance(risk, bool) or not isinstance(risk, int | float | np.number) or not 0.0 < risk < math.inf:
        raise RegionError(f"risk must be a number above 0, got {shown(risk)}; 1 is the default")
    limits = limits_over(region)
    curvature = 2.0 * float(risk) * region.n_domains
    w, gap = _minimise(values, curvature, limits, region.project(np.full(region.n_domains, 1.0 / region.n_domains)))
    value = float(np.linalg.norm(values.T @ w - 1.0)) + 0.5 * curvature * float(w @ w)
    if not gap <= _GAP * max(value, 1.0):
        warnings.warn(
            f"UtiliMax ended with a gap of {gap:.2g} at a value of {value:.4g}: the mixture may be off by that much",
            NotConvergedWarning,
            stacklevel=2,
        )
    return Mixture(region.domains, w)


def _minimise(values: Matrix, curvature: float, limits: Limits, start: Vector) -> tuple[Vector, float]:
    """Return the shares (K,) that minimise ``||U'w - 1|| + curvature/2 ||w||^2`` within limits, and a bound on their suboptimality."""
    w, active = start, limits.active(start)
    multipliers = np.zeros(values.shape[1])

    def best(t: float) -> tuple[Vector, Vector, float]:
        """Minimise ``multipliers.r + ||r||^2 / (2t)`` plus diversity; return shares, residuals r (T,) and their length."""
        hessian = values @ values.T / t + curvature * np.eye(w.size)
        gradient = values @ (multipliers + (values.T @ w - 1.0) / t) + curvature * w
        shares = limits.clip(w + limits.newton(hessian, gradient, w, active), w)
        residual = values.T @ shares - 1.0
        return shares, residual, float(np.linalg.norm(residual))

    scale = 1.0 + float(np.abs(values).max()) * math.sqrt(values.shape[1])
    residual = values.T @ w - 1.0
    distance = float(np.linalg.norm(residual))
    least, most = _NO_DISTANCE * scale, 4.0 * scale
    low, high = least, most
    t = max(distance, least)
    for _ in range(_STEPS):
        w, residual, distance = best(t)
        # The distance of the solution, divided by t, falls in t: below the root t is raised, above it lowered.
        low, high = (t, high) if distance > t else (low, t)
        if abs(distance - t) <= _SAME * t or high - low <= _SAME * t:
            break
        t = distance if low < distance < high else math.sqrt(low * high)
    if t <= 2.0 * least:
        # Utility 1 can be reached: the method of multipliers for the equations U'w = 1, which needs no small t.
        for _ in range(_STEPS):
            multipliers = multipliers + residual / t
            w, residual, distance = best(t)
            if distance <= _SAME * scale:
                break
    # Any vector of length at most 1 bounds the distance from below; the best one is the residual divided by its length.
    direction = multipliers + residual / t
    direction = direction / max(float(np.linalg.norm(direction)), 1.0)
    slope = values @ direction + curvature * w
    return w, limits.gap(slope, w) + max(distance - float(direction @ residual), 0.0)


def _utilities(given: Any, domains: tuple[str, ...]) -> Matrix:
    """Return the utilities as (K, T) in the order of the domains."""
    if given is None:
        raise RegionError("utilities are missing: give the utility of each domain, for one task or for several")
    if isinstance(given, Mapping):
        if set(given) != set(domains):
            raise AlignmentError.between("utilities", given, "the tokens", domains)
        given = [given[name] for name in domains]
        if any(isinstance(row, Mapping) for row in given):
            tasks = sorted({str(task) for row in given if isinstance(row, Mapping) for task in row})
            short = [
                name
                for name, row in zip(domains, given, strict=True)
                if not isinstance(row, Mapping) or sorted(map(str, row)) != tasks
            ]
            if short:
                raise RegionError(
                    f"every domain needs a utility for each of the tasks {listing(tasks)}; wrong: {listing(short)}"
                )
            given = [[row[task] for task in tasks] for row in given]
    try:
        values = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise RegionError(
            f"utilities must be numbers, one or one for each task, for each domain: {problem}"
        ) from problem
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != len(domains) or not values.shape[1]:
        raise RegionError(
            f"utilities must have shape ({len(domains)},) or ({len(domains)}, tasks), got {np.shape(given)}"
        )
    if not np.isfinite(values).all():
        wrong = [domains[k] for k in np.flatnonzero(~np.isfinite(values).all(axis=1))]
        raise RegionError(f"utilities must be finite; these domains have others: {listing(wrong)}")
    return values
