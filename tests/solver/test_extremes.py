"""Random problems at the limits of float64: every answer is feasible, and its gap bounds the recomputed one.

They have limits 1e-12 wide with coefficients over seven decades, scales from 1e-300 to 1e300, hundreds of domains on a few rows, and "worst"
with all of these. A few run by default; ``MIXFAST_EXTREMES=5000`` runs that many. A failure names the seed, and ``problem(seed)`` makes
the problem again. Numpy warnings are errors here.
"""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nasty import Problem

from mixfast import ExpertTable, Region, solve
from mixfast.errors import InfeasibleError, MixfastWarning, NotConvergedWarning

# Problems reported by users: an internal exception, gaps that were too small, a violated group limit.
REPORTED = json.loads((Path(__file__).parent / "reported.json").read_text())
COUNT = int(os.environ.get("MIXFAST_EXTREMES", "60"))
BATCH = 10
KINDS = ("narrow", "scaled", "wide")


def problem(seed: int) -> Problem | None:
    """Return the problem of a seed; None if its limits allow no mixture."""
    rng = np.random.default_rng([seed, 2610])
    kind = KINDS[seed % len(KINDS)]
    objective = "worst" if rng.random() < 0.5 else None
    # "worst" over hundreds of domains takes many seconds.
    wide = int(rng.integers(20, 60) if objective else rng.integers(100, 400))
    k = wide if kind == "wide" and seed % 2 else int(rng.integers(2, 12))
    n = int(rng.integers(1, 12)) if kind == "wide" else int(rng.integers(1, 40))
    domains = [f"d{i}" for i in range(k)]
    far = float(10.0 ** rng.uniform(-300, 300)) if kind == "scaled" and rng.random() < 0.6 else 1.0
    table = _table(rng, n, k, domains, far)
    inside = rng.dirichlet(np.full(k, float(rng.choice([0.05, 0.3, 1.0, 10.0]))))
    worn = table.kind == "ce" and rng.random() < 0.15
    options: dict[str, Any] = {}
    if rng.random() < 0.4 and not worn:
        width = float(rng.choice([1e-12, 1e-8, 0.1]))
        options = {"cap": np.minimum(inside + width / 2, 1.0), "floor": np.maximum(inside - width / 2, 0.0)}
    if rng.random() < 0.75 or kind == "narrow":
        options["bounds"] = _bounds(rng, k, domains, inside, kind)
    if rng.random() < 0.3:
        options["prior"] = rng.dirichlet(np.ones(k))
    kl = float(10.0 ** rng.uniform(-10, 2)) if rng.random() < 0.3 else 0.0
    if kl and kind == "scaled" and rng.random() < 0.5:
        kl = float(10.0 ** rng.uniform(-300, 300))
    wear = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixfastWarning)
            if worn:
                tokens = {name: int(x) for name, x in zip(domains, rng.integers(1, 10**9, k), strict=True)}
                region = Region.from_tokens(
                    tokens, int(sum(tokens.values()) * rng.uniform(0.5, 3)), max_epochs=1000, **options
                )
                wear = float(10.0 ** rng.uniform(-1, 2))
                if seed % 2:
                    wear = f"{1.0 + wear} epochs"
            else:
                region = Region(domains, **options) if options else None
    except InfeasibleError:
        return None
    return Problem(table, region, kl, objective, wear)


def _table(rng: np.random.Generator, n: int, k: int, domains: list[str], far: float) -> ExpertTable:
    options: dict[str, Any] = {"domains": domains}
    groups = int(rng.integers(1, min(n, 5) + 1))
    if groups > 1:
        options["group"] = np.concatenate([np.arange(groups), rng.integers(0, groups, n - groups)])
        options["group_names"] = [f"g{i}" for i in range(groups)]
    if rng.random() < 0.5 or far != 1.0:
        # A table refuses weights that sum to more than 1e100.
        options["weight"] = rng.exponential(size=n) * 10.0 ** rng.uniform(-3, 3, size=n) * min(far, 1e90)
    if rng.random() < 0.15:
        options.pop("weight", None)
        size = float(10.0 ** rng.uniform(-4, 4)) if far == 1.0 else float(np.clip(far, 1e-150, 1e150))
        prediction, target = size * rng.normal(size=(n, k)), size * rng.normal(size=n)
        return ExpertTable.from_predictions(prediction, target, **options)
    style = rng.integers(0, 4)
    if style == 0:
        loglik = rng.normal(size=(n, k)) * float(rng.choice([1e-9, 0.3, 3.0])) - 4
    elif style == 1:
        loglik = -rng.uniform(0, 4000, size=(n, 1)) - rng.exponential(float(rng.choice([10, 300, 3000])), size=(n, k))
    elif style == 2:
        loglik = np.full((n, k), -12.0) + 0.1 * rng.normal(size=(n, k))
        loglik[np.arange(n), rng.integers(0, k, n)] = -0.5
    else:
        loglik = -(10.0 ** rng.uniform(-3, 5, size=(n, k)))
    return ExpertTable.from_loglik(loglik, **options)


def _bounds(rng: np.random.Generator, k: int, domains: list[str], inside: np.ndarray, kind: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for b in range(int(rng.integers(1, 4))):
        members = np.flatnonzero(rng.random(k) < 0.5)
        if not members.size:
            continue
        coefficients = (
            np.ones(members.size) if rng.random() < 0.3 else 10.0 ** rng.uniform(-3.5, 3.5, size=members.size)
        )
        if kind == "scaled":
            coefficients = coefficients * 10.0 ** rng.uniform(-295, 295)
        level = float(coefficients @ inside[members])
        width = float(rng.choice([0.0, 1e-12, 1e-9, 0.1])) * level
        lower = level - width if rng.random() < 0.6 else None
        upper = level + width if rng.random() < 0.6 or lower is None else None
        out[f"b{b}"] = (dict(zip([domains[i] for i in members], coefficients.tolist(), strict=True)), lower, upper)
    return out


def verify(seed: int) -> str | None:
    """Return what is wrong with the answer to a seed's problem, or None."""
    case = problem(seed)
    if case is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("ignore", NotConvergedWarning)
            solution = solve(case.table, case.region, kl=case.kl, objective=case.objective, wear=case.wear, threads=1)
            solution.shadow_prices, solution.group_losses  # noqa: B018
    except InfeasibleError as error:
        return None if case.kl and "prior" in str(error) else f"seed {seed}: InfeasibleError in solve: {error}"
    except Exception as error:
        return f"seed {seed}: {type(error).__name__}: {error}"
    return case.judged(f"seed {seed}", solution)


@pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")
@pytest.mark.parametrize("first", range(0, COUNT, BATCH))
def test_every_answer_is_feasible_and_its_gap_bounds_the_truth(first):
    wrong = [message for seed in range(first, min(first + BATCH, COUNT)) if (message := verify(seed))]
    assert not wrong, "\n".join(wrong)


def reported(name: str) -> Problem:
    spec = REPORTED[name]
    names = spec["domains"]
    options = {key: np.array(spec[key]) for key in ("weight", "length", "group") if key in spec}
    if "group" in options:
        options["group_names"] = [str(code) for code in np.unique(options["group"])]
    loglik = np.array(spec["loglik"], dtype=spec["dtype"])
    region = Region(
        names, cap=spec["cap"], floor=spec["floor"], bounds={k: tuple(v) for k, v in spec["bounds"].items()}
    )
    return Problem(
        ExpertTable.from_loglik(loglik, domains=names, **options), region, spec["kl"], spec["objective"], None
    )


@pytest.mark.parametrize("name", REPORTED)
@pytest.mark.filterwarnings("ignore::mixfast.errors.MixfastWarning")
def test_what_users_reported(name):
    case = reported(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        solution = solve(case.table, case.region, kl=case.kl, objective=case.objective)
    assert case.judged(name, solution) is None


@pytest.mark.parametrize("options", [{"objective": "worst"}, {"backend": "reference"}])
def test_the_tolerance_is_multiplied_by_the_weight_of_the_rows(options):
    """An absolute tolerance of 1e-8 would be below the rounding of float64: such searches took 57 to 112 steps."""
    rng = np.random.default_rng(0)
    loglik, group = -rng.gamma(1.0, 2.0, (300, 8)), rng.integers(3, size=300)
    table = ExpertTable.from_loglik(loglik, weight=np.full(300, 1e12 / 300), group=group)
    solution = solve(table, **options)
    assert solution.status == "optimal"
    assert len(solution.trace) <= 15
