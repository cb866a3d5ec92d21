"""Fixed problems that `make.py` records and `test_golden.py` compares.

Each case returns its quantities by name: numbers, arrays, texts, or lists of texts. Only public names are used, so
the cases survive changes of internals. Data are sampled from `RandomState`, whose stream numpy has frozen.

Numbers are compared at 1e-9 of the largest magnitude in the quantity. If a quantity needs a wider tolerance, the case names it
in `loose` and gives the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import mixfast
from mixfast import (
    ExpertTable,
    Mixture,
    MixtureSampler,
    MixtureSchedule,
    Region,
    Swarm,
    designs,
    exporters,
    mde,
    proposers,
    reuse,
    solver,
)
from mixfast.errors import MixfastWarning

# Relative to the largest magnitude in a quantity.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Case:
    """One fixed problem: how to compute its quantities, and which of them have a wider tolerance."""

    compute: Callable[[], dict[str, Any]]
    loose: dict[str, float] = field(default_factory=dict)

    def allowed(self, key: str) -> float:
        """Return the largest allowed distance of a quantity from the recorded one."""
        return self.loose.get(key, TOLERANCE)


CASES: dict[str, Case] = {}


def case(**loose: float) -> Callable[[Callable[[], dict[str, Any]]], Callable[[], dict[str, Any]]]:
    """Register a case under the name of its function; `loose` widens the tolerance of some quantities."""

    def register(compute: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        CASES[compute.__name__] = Case(compute, loose)
        return compute

    return register


# Data.


def names(k: int) -> list[str]:
    return [f"d{i:03d}" for i in range(k)]


def logliks(seed: int, n: int, k: int, spread: float = 0.8) -> np.ndarray:
    """Return rows of K experts with independent errors, some better than others, so that some shares are 0."""
    rs = np.random.RandomState(seed)
    return -6.0 + spread * rs.standard_normal((n, k)) - np.linspace(0.0, 0.4, k)


def table_of(seed: int, n: int, k: int, dtype: str = "float64", **options: Any) -> ExpertTable:
    return ExpertTable.from_loglik(logliks(seed, n, k).astype(dtype), domains=names(k), **options)


def supply(k: int) -> dict[str, int]:
    """Return tokens of each domain: between 20 000 and 160 000."""
    return {name: 20_000 * (1 + (3 * i) % 8) for i, name in enumerate(names(k))}


@lru_cache
def demo() -> ExpertTable:
    return ExpertTable.load(Path(mixfast.__file__).parent / "data" / "demo.npz")


def mixtures(seed: int, m: int, k: int) -> np.ndarray:
    """Return M samples of the flat Dirichlet distribution."""
    drawn = np.random.RandomState(seed).standard_exponential((m, k))
    return drawn / drawn.sum(axis=1, keepdims=True)


@lru_cache
def swarm() -> Swarm:
    """Return 48 runs of 5 domains: two losses that follow log-linear laws and one score that follows a curve, with noise."""
    x = mixtures(7, 48, 5)
    slope = np.array([[-1.2, 0.4, -0.3, 0.1, 0.6], [0.5, -1.5, 0.2, -0.4, 0.3]])
    noise = np.random.RandomState(8).standard_normal((48, 3))
    losses = np.exp(0.6) + np.exp(x @ slope.T) + 0.01 * noise[:, :2]
    score = 0.3 + 0.5 * np.sqrt(x[:, :1] * x[:, 1:2]) + 0.005 * noise[:, 2:]
    return Swarm(
        x,
        np.hstack([losses, score]),
        domains=names(5),
        metric_names=["loss_a", "loss_b", "score_c"],
        runs=[str(i) for i in range(48)],
        direction=["min", "min", "max"],
    )


@lru_cache
def law(name: str, *metrics: str) -> Any:
    return mixfast.fit(swarm(), name, metrics=list(metrics) or None, folds=0, seed=0)


# What is recorded of each result.


def solved(solution: Any, *, prices: bool = True) -> dict[str, Any]:
    """Return everything that a solution certifies."""
    found = {
        "status": solution.status,
        "value": solution.value,
        "certified": bool(0.0 <= solution.gap <= 1e-10),
        "shares": solution.mixture.weights,
        "loss": solution.loss,
        "group_losses": list(solution.group_losses.values()),
        "group_weights": list(solution.group_weights.values()),
    }
    if solution.epochs is not None:
        found["epochs"] = list(solution.epochs.values())
    if prices:
        found |= {f"multipliers.{key}": value for key, value in solution.multipliers._asdict().items()}
        binding = sorted(solution.shadow_prices, key=lambda price: (price.name, price.limit))
        found["binding"] = [f"{price.name} {price.limit}" for price in binding]
        found["prices"] = [price.price for price in binding]
        found["limits"] = [price.value for price in binding]
    return found


def proposed(proposal: Any) -> dict[str, Any]:
    """Return the fields of a proposal, with the certificate if it has one."""
    found = {
        "status": proposal.status,
        "method": proposal.method,
        "value": proposal.value,
        "shares": proposal.mixture.weights,
        "objective": list(proposal.objective.values()),
        "limited": list(proposal.limited.values()),
        "predicted": list(proposal.predicted.values()),
        "gain": proposal.gain.value,
    }
    if proposal.gap is not None:
        found["certified"] = bool(0.0 <= proposal.gap <= 1e-10)
        found |= {f"multipliers.{key}": value for key, value in proposal.multipliers._asdict().items()}
        binding = sorted(proposal.shadow_prices, key=lambda price: (price.name, price.limit))
        found["binding"] = [f"{price.name} {price.limit}" for price in binding]
        found["prices"] = [price.price for price in binding]
    if proposal.epochs is not None:
        found["epochs"] = list(proposal.epochs.values())
    return found


def ends(ranges: dict[str, tuple[float, float]]) -> list[list[float]]:
    return [list(pair) for pair in ranges.values()]


# Solves. The tolerance of 1e-10 nats determines the value; at an interior optimum the last Newton step determines the shares far better.

TIGHT = 1e-10


@case()
def plain_float64() -> dict[str, Any]:
    return solved(mixfast.solve(table_of(1, 4000, 8), tol=TIGHT))


@case()
def plain_float32() -> dict[str, Any]:
    return solved(mixfast.solve(table_of(1, 4000, 8, "float32"), tol=TIGHT))


@case()
def plain_float16() -> dict[str, Any]:
    return solved(mixfast.solve(table_of(1, 4000, 8, "float16"), tol=TIGHT))


@case()
def many_rows() -> dict[str, Any]:
    """Enough rows that the search starts on samples of them."""
    return solved(mixfast.solve(table_of(2, 200_000, 6, "float32"), tol=TIGHT))


@case()
def caps_of_tokens() -> dict[str, Any]:
    region = Region.from_tokens(supply(8), 400_000, max_epochs=2)
    solution = mixfast.solve(table_of(3, 3000, 8), region, tol=TIGHT)
    free = solution.unconstrained
    return solved(solution) | {"free.value": free.value, "free.shares": free.mixture.weights}


@case()
def excluded_domains() -> dict[str, Any]:
    """Multipliers of domains that may have no share are computed again over all rows."""
    cap = {"d001": 0.0, "d004": 0.0, "d000": 0.15}
    return solved(mixfast.solve(table_of(4, 3000, 8), Region(names(8), cap=cap), tol=TIGHT))


@case()
def floors() -> dict[str, Any]:
    region = Region(names(8), floor={"d006": 0.1, "d007": 0.05}, cap={"d000": 0.2})
    return solved(mixfast.solve(table_of(4, 3000, 8), region, tol=TIGHT))


@case()
def group_limits() -> dict[str, Any]:
    bounds = {"early": (names(8)[:3], 0.1, 0.35), "late": (names(8)[5:], 0.3, None)}
    return solved(mixfast.solve(table_of(5, 3000, 8), Region(names(8), bounds=bounds, cap=0.3), tol=TIGHT))


@case()
def kl_to_the_prior() -> dict[str, Any]:
    region = Region(names(8), prior=dict(zip(names(8), range(1, 9), strict=True)), cap={"d000": 0.1})
    return solved(mixfast.solve(table_of(6, 3000, 8), region, kl=0.05, tol=TIGHT))


def grouped(dtype: str = "float64") -> ExpertTable:
    values = logliks(9, 4500, 7)
    group = np.repeat([0, 1, 2], [1000, 1500, 2000])
    # Each group prefers other experts.
    values += np.array([[0.5, 0, 0, 0, 0, 0.2, 0], [0, 0.6, 0, 0, 0.3, 0, 0], [0, 0, 0.7, 0.2, 0, 0, 0.5]])[group]
    return ExpertTable.from_loglik(
        values.astype(dtype), domains=names(7), group=group, group_names=["p", "q", "r"], length=1 + np.arange(4500) % 5
    )


@case()
def weighted_groups() -> dict[str, Any]:
    return solved(mixfast.solve(grouped(), objective={"p": 1.0, "r": 3.0}, tol=TIGHT))


WORST = {
    # The minimax loop ends when its gap is within the tolerance, at a point within 1e-10 nats of the optimum. The error of
    # shares, multipliers of groups and everything computed from them is the square root of that.
    "shares": 1e-5,
    "group_losses": 1e-6,
    "group_weights": 1e-4,
    "multipliers.cap": 1e-4,
    "multipliers.floor": 1e-4,
    "prices": 1e-4,
}


@case(**WORST)
def worst_of_groups() -> dict[str, Any]:
    return solved(mixfast.solve(grouped(), objective="worst", tol=TIGHT))


@case(**WORST)
def worst_with_caps_and_kl() -> dict[str, Any]:
    region = Region(names(7), prior=1, cap={"d002": 0.12, "d001": 0.2})
    return solved(mixfast.solve(grouped(), region, kl=0.02, objective="worst", tol=TIGHT))


@case()
def wear_of_repeats() -> dict[str, Any]:
    region = Region.from_tokens(supply(8), 800_000, max_epochs=20)
    return solved(mixfast.solve(table_of(3, 3000, 8), region, wear=15.4, kl=0.01, tol=TIGHT))


def predictions(k: int = 6, n: int = 2000) -> ExpertTable:
    rs = np.random.RandomState(11)
    target = rs.standard_normal(n)
    guess = target[:, None] * np.linspace(0.5, 1.2, k) + rs.standard_normal((n, k)) * np.linspace(0.4, 1.0, k)
    return ExpertTable.from_predictions(guess, target, domains=names(k), group=np.arange(n) // (n // 2))


@case()
def squared_error() -> dict[str, Any]:
    return solved(mixfast.solve(predictions(), Region(names(6), cap=0.4), tol=TIGHT))


@case()
def squared_error_with_kl() -> dict[str, Any]:
    return solved(mixfast.solve(predictions(), Region(names(6), prior=1), kl=0.01, tol=TIGHT))


@case(**WORST)
def squared_error_worst() -> dict[str, Any]:
    return solved(mixfast.solve(predictions(), objective="worst", tol=TIGHT))


@case()
def wide() -> dict[str, Any]:
    """300 domains, most of them at 0: this uses the working set."""
    return solved(mixfast.solve(table_of(12, 2500, 300, "float32"), tol=TIGHT))


# 1e-10 nats of the objective do not determine the shares of near-copies, and each range ends where a line search stops.
@case(shares=1e-2, **{"multipliers.floor": 1e-6, "free.ranges": 1e-2, "ranges": 1e-3})
def near_copies() -> dict[str, Any]:
    values = logliks(13, 2500, 6)
    values[:, 3] = values[:, 0] + 1e-7 * np.random.RandomState(14).standard_normal(2500)
    solution = mixfast.solve(ExpertTable.from_loglik(values, domains=names(6)), tol=TIGHT)
    together = solution.mixture.weights[[0, 3]].sum()
    return solved(solution) | {"together": together, "ranges": ends(solution.ranges(1e-3))}


# Fewer rows than domains: the optimum is a face of the simplex, and the shares on it are not determined.
@case(shares=1e-3, **{"multipliers.floor": 1e-6})
def fewer_rows_than_domains() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixfastWarning)
        return solved(mixfast.solve(table_of(15, 7, 12), tol=TIGHT))


@case()
def impossible_rows() -> dict[str, Any]:
    """Experts that give some rows probability 0, and sequences of thousands of nats."""
    values = 400.0 * logliks(16, 1200, 6, spread=0.02)
    values[np.random.RandomState(17).random_sample(values.shape) < 0.1] = -np.inf
    values[np.isinf(values).all(axis=1), 0] = -900.0
    table = ExpertTable.from_loglik(values, domains=names(6), length=200 + np.arange(1200) % 300)
    return solved(mixfast.solve(table, Region(names(6), cap=0.5), tol=TIGHT))


@case()
def start_given() -> dict[str, Any]:
    start = dict(zip(names(8), mixtures(18, 1, 8)[0].tolist(), strict=True))
    return solved(mixfast.solve(table_of(1, 4000, 8), start=start, tol=TIGHT), prices=False)


@case()
def paper_loop() -> dict[str, Any]:
    """The MixMin code's 100 steps: the shares are those of the last step, even if that is not the optimum."""
    solution = solver.solve(table_of(1, 4000, 8), method="eg-paper")
    return {"value": solution.value, "gap": solution.gap, "shares": solution.mixture.weights, "status": solution.status}


@case()
def reference_backend() -> dict[str, Any]:
    solution = solver.solve(table_of(19, 300, 5), Region(names(5), cap=0.3), tol=TIGHT, backend="reference")
    return {"value": solution.value, "shares": solution.mixture.weights, "status": solution.status}


# Sweeps over 16-bit tables use float32, which each instruction set rounds differently.
@case(**dict.fromkeys(("shares", "epochs", "group_losses", "multipliers.cap", "multipliers.floor", "prices"), 1e-8))
def the_demo() -> dict[str, Any]:
    """The package's own sample table: real log-likelihoods, float16, four groups."""
    region = Region.from_tokens(dict.fromkeys(demo().domains, 40_000), 512_000, max_epochs=4)
    return solved(mixfast.solve(demo(), region, kl=0.001, tol=TIGHT))


@case()
def path_over_kl() -> dict[str, Any]:
    found = solver.path(table_of(6, 3000, 8), Region(names(8), prior=1), kl=[0.1, 0.03, 0.01, 0.0], tol=TIGHT)
    return {"values": [one.value for one in found], "shares": np.array([one.mixture.weights for one in found])}


@case()
def path_over_caps() -> dict[str, Any]:
    found = solver.path(table_of(6, 3000, 8), cap=[0.5, 0.25, 0.15], tol=TIGHT)
    return {"values": [one.value for one in found], "shares": np.array([one.mixture.weights for one in found])}


@case(worst=1e-8, demo=1e-8)  # float16, as above
def losses_of_many() -> dict[str, Any]:
    many = np.vstack([mixtures(20, 40, 7), np.eye(7)])
    return {
        "mean": solver.losses(grouped(), many),
        "weighted": solver.losses(grouped("float32"), many, objective={"p": 1.0, "q": 2.0}),
        "worst": solver.losses(grouped("float16"), many, objective="worst"),
        "squared": solver.losses(predictions(7), many),
        "demo": solver.losses(demo(), mixtures(21, 20, 14)),
    }


@case()
def held_out() -> dict[str, Any]:
    region = Region(names(7), prior=1, cap=0.3)
    found = solver.holdout(grouped(), region, share=0.25, seed=3, tol=TIGHT)
    rows = sorted(found.rows, key=lambda row: row.name)
    return {
        "names": [row.name for row in rows],
        "order": [row.name for row in found.rows],
        "fit": [row.fit_loss for row in rows],
        "held_out": [row.held_out_loss for row in rows],
        "sizes": list(found.sizes),
    }


# Replicates end when steps are small relative to the spread of the shares, not at a gap: rounding may change the number of steps.
@case(shares=1e-7, intervals=1e-7, errors=1e-7)
def bootstrap_of_rows() -> dict[str, Any]:
    table = table_of(3, 3000, 8)
    region = Region(names(8), cap=0.3)
    found = solver.bootstrap(table, region, replicates=60, seed=5, tol=TIGHT)
    return {
        "shares": found.shares[:10],
        "intervals": ends(found.intervals),
        "errors": list(found.standard_errors.values()),
        "units": found.units,
    }


@case(shares=1e-7, intervals=1e-7)
def bootstrap_of_sequences() -> dict[str, Any]:
    values = grouped()
    table = ExpertTable.from_loglik(
        values.loglik, domains=names(7), group=values.group, sequence=np.arange(4500) // 6, group_names=["p", "q", "r"]
    )
    solution = mixfast.solve(table, Region(names(7), prior=1), kl=0.01, tol=TIGHT)
    found = solver.bootstrap(table, solution=solution, replicates=60, level=0.8, seed=1)
    return {"shares": found.shares[:10], "intervals": ends(found.intervals), "units": found.units}


# The ends of a range come from line searches with their own tolerance.
@case(ranges=1e-7, capped=1e-7, some=1e-7)
def ranges_of_shares() -> dict[str, Any]:
    region = Region(names(8), cap=0.3, bounds={"early": (names(8)[:3], 0.1, 0.35)})
    solution = mixfast.solve(table_of(5, 3000, 8), tol=TIGHT)
    return {
        "ranges": ends(solution.ranges(1e-3)),
        "capped": ends(mixfast.solve(table_of(5, 3000, 8), region, tol=TIGHT).ranges(1e-3)),
        "some": ends(solution.ranges(1e-4, ["d004", "d001"])),
    }


# Laws. Most fits are numerical minima that end when steps are small. Linear algebra on another machine changes them,
# and changes their out-of-fold errors more than their predictions. The tolerances are ten times the differences observed
# between OpenBLAS kernels and between instruction sets of the core.


def fitted(name: str, *, folds: int = 4, runs: Swarm | None = None, **options: Any) -> dict[str, Any]:
    runs = runs or swarm()
    k = len(runs.domains)
    found = mixfast.fit(runs, name, folds=folds, seed=2, **options)
    at = mixtures(22, 12, k)
    if name not in ("autoscale", "bimix"):
        at = np.vstack([at, np.eye(k)])
    out = {"laws": list(found.laws.values()), "predicted": found.predict(at), "sd": found.sd(at)}
    if found.smooth:
        out["slopes"] = found.slopes(at)[1][:6]
    for key in ("rmse", "spearman", "r2", "coverage", "optimism"):
        out[key] = [getattr(report, key) for report in found.reports]
    out["rivals"] = [error for report in found.reports for _, error in sorted(report.rivals.items())]
    return out


@case()
def law_linear() -> dict[str, Any]:
    return fitted("linear")


@case(sd=1e-8, slopes=1e-8, rmse=1e-7, rivals=1e-7, optimism=1e-6)
def law_log_linear() -> dict[str, Any]:
    return fitted("log_linear", metrics=["loss_a", "loss_b"])


GP = dict.fromkeys(("predicted", "sd", "slopes", "rmse", "r2", "rivals"), 1e-7) | {"optimism": 1e-5}


@case(**GP)
def law_gp() -> dict[str, Any]:
    return fitted("gp")


@case(**GP)
def law_auto() -> dict[str, Any]:
    return fitted("auto")


def powers() -> Swarm:
    """Return 60 runs of 3 domains with two losses that follow BiMix's law, with noise: they determine both power laws."""
    x = mixtures(25, 60, 3)
    factor, power = np.array([[0.4, 0.8, 0.6], [0.9, 0.5, 0.3]]), np.array([[0.3, 0.1, 0.2], [0.15, 0.35, 0.1]])
    y = (factor * x[:, None, :] ** -power).sum(axis=2) + 0.01 * np.random.RandomState(26).standard_normal((60, 2))
    return Swarm(x, y, domains=names(3), metric_names=["loss_a", "loss_b"], runs=[str(i) for i in range(60)])


@case(**GP)
def law_autoscale() -> dict[str, Any]:
    return fitted("autoscale", runs=powers())


@case(**GP)
def law_bimix() -> dict[str, Any]:
    return fitted("bimix", runs=powers())


@case()
def law_lightgbm() -> dict[str, Any]:
    return fitted("lightgbm", folds=0)


# Proposals. The certificate determines the value; the other quantities also change with the law, see above.

EXACT = dict.fromkeys(("shares", "epochs", "predicted", "gain", "prices"), 1e-8)
EXACT |= {f"multipliers.{key}": 1e-8 for key in ("cap", "floor", "bound_lower", "bound_upper")}
LOSSES = ("loss_a", "loss_b")


@case(**EXACT)
def propose_exact() -> dict[str, Any]:
    region = Region.from_tokens(supply(5), 200_000, max_epochs=2)
    proposal = mixfast.propose(law("log_linear", *LOSSES), region, kl=0.05, tol=TIGHT)
    return proposed(proposal)


@case(**EXACT)
def propose_exact_with_group_limits() -> dict[str, Any]:
    bounds = {"late": (names(5)[2:], 0.4, 0.5)}
    region = Region(names(5), prior=1, cap={"d001": 0.3}, bounds=bounds)
    fits = law("log_linear", *LOSSES)
    return proposed(mixfast.propose(fits, region, kl=0.02, objective={"loss_a": 2.0, "loss_b": 1.0}, tol=TIGHT))


@case(**EXACT)
def propose_exact_without_kl() -> dict[str, Any]:
    return proposed(mixfast.propose(law("log_linear", *LOSSES), Region(names(5), cap=0.4), tol=TIGHT))


@case(**EXACT)
def propose_linear() -> dict[str, Any]:
    region = Region(names(5), prior=1)
    return proposed(mixfast.propose(law("linear"), region, kl=0.1, tol=TIGHT))


@case(**WORST, objective=1e-4, predicted=1e-6, gain=1e-6)
def propose_worst() -> dict[str, Any]:
    region = Region(names(5), prior=1)
    return proposed(mixfast.propose(law("log_linear", *LOSSES), region, objective="worst", kl=0.02, tol=TIGHT))


@case(**WORST, limited=1e-4, objective=1e-4, predicted=1e-6, gain=1e-6)
def propose_with_tolerance() -> dict[str, Any]:
    region = Region(names(5), prior=1)
    fits = law("log_linear", *LOSSES)
    return proposed(mixfast.propose(fits, region, objective="loss_a", tolerance={"loss_b": 0.01}, kl=0.3, tol=TIGHT))


# A search ends when its steps are small, and its Gaussian process is also a numerical minimum.
SEARCHED = {"shares": 1e-3, "value": 1e-6, "predicted": 1e-5, "gain": 1e-5, "epochs": 1e-3}


@case(**SEARCHED)
def propose_search() -> dict[str, Any]:
    region = Region.from_tokens(supply(5), 200_000, max_epochs=2)
    return proposed(mixfast.propose(law("gp"), region, kl=0.05, method="search", seed=4))


@case(**SEARCHED)
def propose_averse() -> dict[str, Any]:
    return proposed(mixfast.propose(law("gp"), Region(names(5), prior=1), kl=0.02, kappa=1.0, seed=4))


@case()
def propose_regmix() -> dict[str, Any]:
    """The mean of the best samples."""
    region = Region(names(5), prior=dict(zip(names(5), range(1, 6), strict=True)), cap=0.5)
    return proposed(mixfast.propose(law("linear"), region, method="regmix", seed=4))


@case(ranges=1e-7)
def proposal_ranges() -> dict[str, Any]:
    proposal = mixfast.propose(law("log_linear", *LOSSES), Region(names(5), prior=1, cap=0.5), kl=0.02, tol=TIGHT)
    return {"ranges": ends(proposal.ranges(1e-3))}


@case(shares=1e-8, draws=1e-7, low=1e-7, high=1e-7)
def proposal_path_and_intervals() -> dict[str, Any]:
    region = Region(names(5), prior=1)
    found = proposers.path(law("log_linear", *LOSSES), region, [0.1, 0.0, 0.02], tol=TIGHT)
    spread = proposers.bootstrap(swarm(), "log_linear", region, fit=_fit_losses, draws=6, seed=3, kl=0.05, tol=TIGHT)
    return {
        "values": [one.value for one in found],
        "shares": np.array([one.mixture.weights for one in found]),
        "draws": spread.shares,
        "low": list(spread.low.values()),
        "high": list(spread.high.values()),
    }


def _fit_losses(runs: Swarm, law: Any) -> Any:
    return mixfast.fit(runs, law, metrics=list(LOSSES), folds=0, seed=0)


# Designs.


def rows_of(design: Any) -> dict[str, Any]:
    return {"ratios": design.ratios, "runs": list(design.runs), "advised": design.advised}


@case()
def design_cover() -> dict[str, Any]:
    region = Region.from_tokens(supply(5), 200_000, max_epochs=2)
    return rows_of(mixfast.design(region, 12, seed=6))


@case()
def design_frozen() -> dict[str, Any]:
    frozen = {"old": {"d000": 0.7, "d003": 0.3}}
    return rows_of(mixfast.design(Region(names(5), prior=1, cap={"d003": 0.2}), 8, seed=6, frozen=frozen))


@case()
def design_extend() -> dict[str, Any]:
    region = Region(names(5), prior=1)
    return rows_of(designs.extend(mixfast.design(region, 6, seed=6), region, 5, seed=7))


@case()
def design_regmix() -> dict[str, Any]:
    region = Region(names(5), prior=dict(zip(names(5), range(1, 6), strict=True)))
    return rows_of(mixfast.design(region, 10, seed=6, method="regmix"))


@case()
def design_olmix() -> dict[str, Any]:
    domains = ["web:news", "web:blogs", "code:py", "code:c", "books"]
    region = Region(domains, prior=dict(zip(domains, [4, 3, 2, 1, 2], strict=True)))
    return rows_of(mixfast.design(region, 10, seed=6, method="olmix"))


def chosen(way: str, fits: Any, **options: Any) -> dict[str, Any]:
    region = Region(names(5), prior=1, cap=0.6)
    found = designs.next_runs(swarm(), fits, region, 4, way=way, seed=8, objective="loss_*", **options)
    return rows_of(found.design) | {
        "gain": found.gain,
        "predicted": found.predicted,
        "sd": found.sd,
        "best": found.best,
    }


NEXT = dict.fromkeys(("gain", "predicted", "sd", "best"), 1e-6)


@case(**NEXT)
def next_by_information() -> dict[str, Any]:
    return chosen("information", law("log_linear", *LOSSES))


@case(**NEXT)
def next_by_improvement() -> dict[str, Any]:
    return chosen("improvement", law("gp"))


@case(**NEXT)
def next_by_thompson() -> dict[str, Any]:
    return chosen("thompson", law("log_linear", *LOSSES))


# Reuse of mixtures.


def planned(plan: Any) -> dict[str, Any]:
    found = {
        "kind": plan.kind,
        "reopened": list(plan.reopened),
        "above": list(plan.above),
        "domains": list(plan.region.domains),
        "cap": plan.region.cap,
        "floor": plan.region.floor,
        "prior": plan.region.prior,
        "frozen": list(plan.frozen.as_dict().values()),
        "runs": [plan.runs, plan.full_runs],
        "expanded": plan.expand(Mixture(plan.region.domains, plan.region.project(plan.region.prior))).weights,
    }
    if plan.coupling is not None:
        found |= {
            "loss": plan.loss,
            "loss_full": plan.coupling.loss_full,
            "predicted_gain": plan.coupling.gain,
            "kappa": plan.coupling.kappa,
            "scores": list(plan.coupling.scores.values()),
            "new_share": plan.coupling.new_share,
        }
    return found


OLD = dict(zip(names(5), [0.35, 0.25, 0.2, 0.15, 0.05], strict=True))
GROWN = [*names(5), "maths"]
# Losses of freezing are differences of two solves with a gap of 1e-10 each; scores are ratios of small changes.
COUPLED = {"loss": 1e-6, "loss_full": 1e-6, "scores": 1e-4, "kappa": 1e-6, "new_share": 1e-4, "predicted_gain": 1e-6}


@case()
def reuse_full() -> dict[str, Any]:
    region = Region(GROWN, prior=1, cap={"d000": 0.3, "maths": 0.4}, floor={"d004": 0.01})
    return planned(reuse.full(OLD, [reuse.Add(["maths"])], region, kl=0.02))


@case(**COUPLED)
def reuse_full_with_a_law() -> dict[str, Any]:
    region = Region(GROWN, prior=1)
    fits = law("log_linear", *LOSSES)
    return planned(reuse.full(OLD, [reuse.Add(["maths"])], region, law=fits, kl=0.02, like={"maths": "d001"}))


@case(**COUPLED)
def reuse_partial() -> dict[str, Any]:
    region = Region(GROWN, prior=1, cap=0.5)
    fits = law("log_linear", *LOSSES)
    plan = reuse.partial(OLD, [reuse.Add(["maths"])], region, law=fits, kl=0.02, like={"maths": "d001"}, allowed=0.01)
    return planned(plan)


@case()
def reuse_of_a_removal() -> dict[str, Any]:
    rest = [name for name in names(5) if name != "d001"]
    plan = reuse.full(OLD, [reuse.Remove(["d001"])], Region(rest, prior=1))
    return {"mixture": plan.mixture.weights, "runs": [plan.runs, plan.full_runs]}


# Mixtures of data experts.


def tokens() -> ExpertTable:
    return ExpertTable.from_loglik(
        0.05 * logliks(23, 3000, 5),
        domains=names(5),
        group=np.arange(3000) // 1500,
        group_names=["loss_a", "loss_b"],
        sequence=np.arange(3000) // 25,
    )


@case()
def mde_features() -> dict[str, Any]:
    found = mde.features(tokens(), swarm(), levels=["token", "posterior", "sequence", "block:10"])
    values, slopes = found.slopes(mixtures(24, 3, 5))
    return {"names": list(found.names), "values": found.values[:8], "at": values, "slopes": slopes}


# Standard errors are differences of nearly equal sums.
@case(errors=1e-5)
def mde_features_of_a_sample() -> dict[str, Any]:
    found = mde.features(tokens(), swarm(), levels=["token", "sequence"], rows=1000, seed=1)
    return {"values": found.values[:8], "errors": found.errors[:8]}


@case()
def mde_stack() -> dict[str, Any]:
    stacked = mde.stack({"one": tokens(), "two": tokens().select(names(5)[::-1])})
    return {"groups": list(stacked.group_names), "losses": solver.losses(stacked, mixtures(24, 4, 5))}


@case()
def mde_residual() -> dict[str, Any]:
    found = mde.features(tokens(), swarm())
    fits = mixfast.fit(
        swarm(),
        mde.Residual(_linear(), found, metrics=["loss_a", "loss_b"]),
        metrics=["loss_a", "loss_b"],
        features=found,
        folds=4,
    )
    return {"predicted": fits.predict(mixtures(24, 6, 5)), "rmse": [report.rmse for report in fits.reports]}


def _linear() -> Any:
    from mixfast.laws.linear import Linear

    return Linear()


@case()
def mde_redundancy() -> dict[str, Any]:
    found = mde.redundancy(mde.features(tokens(), swarm()), swarm().select(list(LOSSES)))
    return {"advice": found.advice}


# Streams.


def stream(sampler: MixtureSampler, *windows: tuple[int, int]) -> dict[str, Any]:
    found: dict[str, Any] = {"first": list(sampler.first_samples().values())}
    for start, stop in windows:
        part = sampler.positions(start, stop)
        for key in ("domain", "index", "epoch"):
            found[f"{key}.{start}"] = getattr(part, key)
    return found


SHARES = Mixture(names(5), [0.4, 0.3, 0.15, 0.1, 0.05])
SIZES = dict(zip(names(5), [50, 400, 1000, 37, 9], strict=True))


@case()
def sampler_constant() -> dict[str, Any]:
    return stream(MixtureSampler(SHARES, SIZES, seed=3), (0, 60), (10**9, 10**9 + 30), (10**15, 10**15 + 20))


@case()
def sampler_with_a_ramp() -> dict[str, Any]:
    other = Mixture(names(5), [0.1, 0.1, 0.3, 0.3, 0.2])
    schedule = MixtureSchedule(SHARES).then(other, at=100).ramp(SHARES, start=200, stop=300)
    sampler = MixtureSampler(schedule, SIZES, seed=4, shuffle=False)
    return stream(sampler, (90, 120), (195, 310)) | {"state": sampler.state(250)["position"]}


@case()
def sampler_that_redistributes() -> dict[str, Any]:
    sampler = MixtureSampler(SHARES, SIZES, seed=5, on_exhausted="redistribute", max_epochs=2)
    return stream(sampler, (200, 260), (len(sampler) - 30, len(sampler))) | {"length": len(sampler)}


# Formats that other tools read.

COUNTS = {"web": 10_000, "code": 2_000, "books": 500, "none": 7}
DOCUMENTS = {"web": 100, "code": 5, "books": 1, "none": 7}


@case()
def exported() -> dict[str, Any]:
    mixture = Mixture(["web", "code", "books", "none"], [0.62, 0.3, 0.08, 0.0])
    found = {}
    for to in exporters.FORMATS:
        takes = exporters.options(to)
        given: dict[str, Any] = {"paths": "/data/{domain}"} if "paths" in takes else {}
        if to == "axolotl":
            given |= {"tokens": COUNTS, "documents": DOCUMENTS}
        elif "unit" in takes:
            given["unit"] = "sequences"
        out = exporters.export(mixture, to, **given)
        found[to] = out.text
        found[f"{to}.values"] = list(out.values.values())
    return found


@case()
def exported_with_counts() -> dict[str, Any]:
    mixture = Mixture(["web", "code", "books"], [0.62, 0.3, 0.08])
    given = {"tokens": COUNTS, "documents": DOCUMENTS, "budget": 6_000, "paths": "/data/{domain}"}
    found = {}
    for to in exporters.FORMATS:
        takes = exporters.options(to)
        if "tokens" in takes:
            found[to] = exporters.export(
                mixture, to, **{key: value for key, value in given.items() if key in takes}
            ).text
    return found


@case()
def exported_schedules() -> dict[str, Any]:
    late = Mixture(names(5), [0.1, 0.1, 0.3, 0.3, 0.2])
    schedule = MixtureSchedule(SHARES).then(late, at=2048)
    return {
        "levanter": exporters.export(schedule, "levanter", batch_size=16).text,
        "nanotron": exporters.export(schedule, "nanotron", batch_size=16, paths="/data/{domain}").text,
    }
