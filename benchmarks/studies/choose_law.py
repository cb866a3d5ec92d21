"""Compare rules that choose a law by what the law then proposes: python -m benchmarks.studies choose_law.

Worlds with a known metric: each law is fitted to noisy runs and proposes a mixture for each metric, and the known metric at that mixture is its
loss. A rule sees only the out-of-fold predictions of the laws and picks one. Printed for each rule: the mean loss of its picks over that of the
law that proposes best, in standard deviations of the metric over the runs, and the paired difference to rule A (smallest out-of-fold rmse)
with its standard error over swarms. ``--replay`` uses published runs instead: laws are fitted to some runs and pick one of the others.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.facts import DATA
from benchmarks.runs import as_swarm, swarm, table

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Truth = Callable[[Matrix], Vector]

LAWS = ("linear", "log_linear", "gp")
PLANTED = (*LAWS, "epochs")
FOLDS = 5
METRICS = 3
# Noise of a run, as a fraction of the metric's standard deviation over the runs. For RegMix's losses, the out-of-fold error of the best
# law, which contains the noise, is 0.05 to 0.3 of it.
NOISE = (0.1, 0.3)
# Epochs of every domain in a run with natural shares.
EPOCHS = 2.0


@dataclass(frozen=True)
class Case:
    """One metric of one swarm: all that a rule may see, and the loss of each law's proposal."""

    group: str
    swarm: int
    y: Vector  # (R,), lower is better
    guess: Matrix  # (L, R), out of fold
    fold: NDArray[np.int64]  # (R,)
    loss: Vector  # (L,), in standard deviations of the metric

    @property
    def errors(self) -> Matrix:
        """Measured minus predicted, (L, R)."""
        return self.y - self.guess


# The worlds: each makes a metric of shares (M, K) from random numbers and the epochs for each unit of share (K,).


def linear(rng: np.random.Generator, rate: Vector) -> Truth:
    """Return ``a . w``."""
    a = rng.normal(0.0, 1.0, len(rate))
    return lambda w: w @ a


def log_linear(rng: np.random.Generator, rate: Vector) -> Truth:
    """Return ``exp(a . w)``, the form of Data Mixing Laws and Olmix."""
    k = len(rate)
    a = rng.normal(0.0, 1.0, k) - 2.0 * rng.dirichlet(np.full(k, 0.3)) * np.sqrt(k)
    return lambda w: np.exp(w @ a)


def power(rng: np.random.Generator, rate: Vector) -> Truth:
    """Return a sum of powers of shares, the form of AutoScale."""
    k = len(rate)
    value, alpha, gamma = rng.dirichlet(np.full(k, 0.5)), rng.uniform(0.01, 0.2, k), rng.uniform(0.1, 0.8, k)
    return lambda w: ((alpha + w) ** -gamma) @ value


def epochs(rng: np.random.Generator, rate: Vector) -> Truth:
    """Return a metric in epochs: domains saturate, and repetition beyond some 12 epochs does harm."""
    k, rho, p, tau = len(rate), rng.uniform(0.2, 0.8), rng.uniform(0.5, 1.0), 6.0
    a, h = 4.0 * rng.dirichlet(np.full(k, 0.5)), rng.uniform(0.0, 0.1, k)

    def truth(w: Matrix) -> Vector:
        e = w * rate
        return np.exp(-(1.0 - np.exp(-((rho * e) ** p))) @ a + np.logaddexp(0.0, e / tau - 2.0) @ h)

    return truth


def smooth(rng: np.random.Generator, rate: Vector) -> Truth:
    """Return a sample of a Gaussian process over square roots of shares, with a linear trend."""
    k = len(rate)
    frequency, phase = rng.normal(0.0, 1.5, (k, 300)), rng.uniform(0.0, 2.0 * np.pi, 300)
    weight, trend = rng.normal(0.0, 1.0, 300) / np.sqrt(150.0), rng.normal(0.0, 2.0, k)
    return lambda w: np.cos(np.sqrt(w) @ frequency + phase) @ weight + w @ trend


WORLDS = {"linear": linear, "log-linear": log_linear, "power": power, "epochs": epochs, "gp-like": smooth}


def designed(rng: np.random.Generator, natural: Vector, runs: int) -> Matrix:
    """Return mixtures (R, K) sampled around natural shares (K,) with strengths 0.3 to 3 (small: few domains), as RegMix does."""
    strength = np.exp(rng.uniform(np.log(0.3), np.log(3.0), runs))
    return np.array([rng.dirichlet(np.maximum(s * len(natural) * natural, 0.02)) for s in strength])


def fold_of(runs: mixfast.Swarm) -> NDArray[np.int64]:
    """Return the fold in which each run is predicted."""
    fold = np.zeros(len(runs), dtype=np.int64)
    for i, (_, test) in enumerate(runs.folds(FOLDS, seed=0)):
        fold[test] = i
    return fold


def once(kept: Path | None, name: str, answer: Callable[[], tuple[Matrix, Matrix]]) -> tuple[Matrix, Matrix]:
    """Return what one law gives for one swarm, from the folder of an earlier call if it is there."""
    path = None if kept is None else kept / f"{name}.npz"
    if path is not None and path.exists():
        with np.load(path) as file:
            return file["guess"], file["loss"]
    guess, loss = answer()
    if path is not None:
        np.savez(path, guess=guess, loss=loss)
    return guess, loss


def planted(
    world: str, k: int, count: int, noise: float, seed: int, kept: Path | None = None, laws: Sequence[str] = PLANTED
) -> Iterator[Case]:
    """Yield two cases for each metric of a swarm of `count` runs of `k` domains: with caps of 4 times the natural shares, and without."""
    rng = np.random.default_rng([seed, k, count, list(WORLDS).index(world)])
    size = rng.lognormal(0.0, 1.2, k)
    natural, rate = size / size.sum(), EPOCHS * size.sum() / size
    w = designed(rng, natural, count)
    truths = [WORLDS[world](rng, rate) for _ in range(METRICS)]
    clean = np.column_stack([truth(w) for truth in truths])
    y = 3.0 + (clean - clean.mean(axis=0)) / clean.std(axis=0) * 0.2
    y += noise * y.std(axis=0) * rng.standard_normal(y.shape)
    names = [f"domain {i}" for i in range(k)]
    metrics = [f"metric {j}" for j in range(METRICS)]
    budget = EPOCHS * 1e6 * size.sum()
    runs = mixfast.Swarm(w, y, domains=names, metric_names=metrics, tokens=1e6 * size, budget=budget)
    prior = dict(zip(names, natural.tolist(), strict=True))
    cap = dict(zip(names, np.minimum(4.0 * natural, 1.0).tolist(), strict=True))
    regions = {"capped": mixfast.Region(names, prior=prior, cap=cap), "free": mixfast.Region(names, prior=prior)}

    def answer(law: str) -> tuple[Matrix, Matrix]:
        fitted = mixfast.fit(runs, law, folds=0)
        guess, loss = fitted.out_of_fold(runs, folds=FOLDS)[1], np.empty((len(regions), METRICS))
        for i, region in enumerate(regions.values()):
            for j, metric in enumerate(metrics):
                try:
                    found = mixfast.propose(fitted, region, objective=metric).mixture
                    at = np.array([[found[name] for name in names]])
                except (
                    mixfast.errors.ProposalError
                ):  # the law predicts infinite numbers: one stays with the natural shares
                    at = natural[None]
                loss[i, j] = truths[j](at)[0] / clean[:, j].std()
        return guess, loss

    title = f"K={k} R={count} noise={noise}"
    both = [once(kept, f"{world} {title} seed={seed} {law}", partial(answer, law)) for law in laws]
    guess, loss = (np.array(parts) for parts in zip(*both, strict=True))
    fold = fold_of(runs)
    for i, limits in enumerate(regions):
        for j in range(METRICS):
            yield Case(f"{world} {limits} {title}", seed, y[:, j], guess[:, :, j], fold, loss[:, i, j])


# Published runs.


def published() -> Iterator[tuple[str, mixfast.Swarm, list[int]]]:
    """Yield name, runs, and numbers of runs to fit, of RegMix and Data Mixing Laws."""
    yield "regmix", swarm(DATA / "regmix"), [40, 80, 160]
    _, x = table(DATA / "dml" / "ratios.csv")
    _, y = table(DATA / "dml" / "metrics_step30000.csv")
    yield "dml", as_swarm(x, y), [12, 18]


def replayed(name: str, runs: mixfast.Swarm, count: int, seed: int) -> Iterator[Case]:
    """Yield one case for each metric: laws fitted to `count` random runs choose one of the others."""
    order = np.random.default_rng([seed, count]).permutation(len(runs))
    part, rest = runs.subset(np.sort(order[:count])), runs.subset(np.sort(order[count:]))
    guess, loss = np.empty((len(LAWS), *part.values.shape)), np.empty((len(LAWS), len(runs.metrics)))
    for i, law in enumerate(LAWS):
        fitted = mixfast.fit(part, law, folds=0)
        guess[i] = fitted.out_of_fold(part, folds=FOLDS)[1]
        pick = fitted.predict(rest.ratios).argmin(axis=0)
        loss[i] = rest.values[pick, np.arange(len(runs.metrics))] / rest.values.std(axis=0)
    fold = fold_of(part)
    for j in range(len(runs.metrics)):
        yield Case(f"{name} R={count}", seed, part.values[:, j], guess[:, :, j], fold, loss[:, j])


# The rules. Each returns a number for each law (L,); the law with the smallest is chosen, the first of equals.


def rmse(case: Case) -> Vector:
    return np.sqrt((case.errors**2).mean(axis=1))


def regret(case: Case) -> Vector:
    """Return the mean over folds of the measured value of the run predicted best minus the best measured value; the rmse decides between equals."""
    lost = []
    for i in np.unique(case.fold):
        test = case.fold == i
        y = case.y[test]
        lost.append(y[case.guess[:, test].argmin(axis=1)] - y.min())
    return np.mean(lost, axis=0) + 1e-6 * rmse(case)


def optimism(case: Case, part: float = 0.05) -> Vector:
    """Return the mean error on the runs with the best predictions."""
    size = max(1, round(part * len(case.y)))
    best = np.argsort(case.guess, axis=1, kind="stable")[:, :size]
    return np.take_along_axis(case.errors, best, axis=1).mean(axis=1)


def self_optimism(case: Case) -> Vector:
    """Return the mean error on the runs that the law picks from the folds."""
    errors = []
    for i in np.unique(case.fold):
        test = np.flatnonzero(case.fold == i)
        pick = test[case.guess[:, test].argmin(axis=1)]
        errors.append(case.errors[np.arange(len(pick)), pick])
    return np.mean(errors, axis=0)


def tail(case: Case, part: float = 0.25) -> Vector:
    """Return the rmse on the runs that any law predicts among the best."""
    size = max(1, round(part * len(case.y)))
    best = np.unique(np.argsort(case.guess, axis=1, kind="stable")[:, :size])
    return np.sqrt((case.errors[:, best] ** 2).mean(axis=1))


def near_best(case: Case, errors: float = 1.0) -> NDArray[np.bool_]:
    """Return which laws (L,) are not worse than the best by more than this many standard errors of the squared errors' differences."""
    squares = case.errors**2
    best = squares[squares.mean(axis=1).argmin()]
    more = squares - best
    return more.mean(axis=1) <= errors * more.std(axis=1) / np.sqrt(len(case.y)) + 1e-300


def among(case: Case, scores: Vector, errors: float = 1.0) -> Vector:
    """Return the scores, infinite for laws whose rmse is clearly worse than the best."""
    return np.where(near_best(case, errors), scores, np.inf)


def doubting(case: Case, errors: float) -> Vector:
    """Return the rmse, but infinity for the linear law unless it is better than every other law by this many standard errors."""
    score, squares = rmse(case), case.errors**2
    other = squares[1 + squares[1:].mean(axis=1).argmin()] - squares[0]
    if other.mean() <= errors * other.std() / np.sqrt(len(other)):
        score[0] = np.inf
    return score


def order(case: Case) -> Vector:
    """Return 0 for the law that makes the fewest assumptions, "gp", then laws in epochs, log-linear and linear."""
    return np.array([3.0, 2.0, 0.0, 1.0])[: len(case.guess)]


def always(law: int) -> Callable[[Case], Vector]:
    return lambda case: (np.arange(len(case.guess)) != law).astype(float)


RULES: dict[str, Callable[[Case], Vector]] = {
    "A  rmse": rmse,
    "B  replay regret": regret,
    "C  |optimism|": lambda case: np.abs(optimism(case)),
    "D  |self-optimism|": lambda case: np.abs(self_optimism(case)),
    "E  tail rmse": tail,
    "F  rmse and optimism": lambda case: np.hypot(rmse(case), optimism(case)),
    "G  rmse + regret": lambda case: rmse(case) + regret(case),
    "H  regret within 1 se of rmse": lambda case: among(case, regret(case)),
    "I  |optimism| within 1 se": lambda case: among(case, np.abs(optimism(case))),
    "J  |self-optimism| within 1 se": lambda case: among(case, np.abs(self_optimism(case))),
    "K  tail rmse within 1 se": lambda case: among(case, tail(case)),
    "L  linear only if 1 se better": lambda case: doubting(case, 1.0),
    "M  gp, epochs, ... within 1 se": lambda case: among(case, order(case)),
    **{f"always {law}": always(i) for i, law in enumerate(LAWS)},
}


def told(cases: Sequence[Case], title: str) -> str:
    """Return the table of the rules over these cases. Metrics of one swarm count as one observation in the standard errors."""
    loss = np.array([case.loss for case in cases])
    chosen = {name: np.array([int(np.argmin(rule(case))) for case in cases]) for name, rule in RULES.items()}
    # With and without caps, a swarm is the same.
    names = [f"{case.group.replace(' capped', '').replace(' free', '')} {case.swarm}" for case in cases]
    owner = np.unique(names, return_inverse=True)[1]
    size = np.bincount(owner)
    rows, first = [], np.arange(len(cases))
    base = loss[first, chosen["A  rmse"]]
    for name, pick in chosen.items():
        over = loss[first, pick] - loss.min(axis=1)
        change = np.bincount(owner, loss[first, pick] - base) / size
        se = change.std(ddof=1) / np.sqrt(len(size)) if len(size) > 1 else float("nan")
        same = np.mean(pick == chosen["A  rmse"])
        rows.append(f"  {name:<30} {over.mean():8.4f}  {change.mean():+8.4f} ± {se:.4f}  {same:5.0%}")
    head = f"  {'rule':<30} {'over best':>8}  {'minus A':>8}   s.e.     as A"
    return "\n".join([f"{title}: {len(cases)} metrics of {len(size)} swarms", head, *rows])


def run(
    worlds: list[str] = list(WORLDS),  # noqa: B006  it is only read
    domains: list[int] = [5, 12, 30],  # noqa: B006
    runs: list[int] = [40, 80, 160, 320],  # noqa: B006
    seeds: int = 3,
    first: int = 0,
    replay: bool = False,
    save: Path | None = None,
    kept: Path | None = None,
    laws: list[str] = list(PLANTED),  # noqa: B006
) -> None:
    """Print a table for each kind of world, or for each set of published runs; seeds begin at `first`; `save` keeps the cases in a file.

    What each law gives for a swarm is kept in the folder `kept`: after a change of one law, delete its files there and only they are computed
    again. With fewer `laws`, only the folder is filled.
    """
    import pickle

    cases: list[Case] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(first, first + seeds):
            if replay:
                for name, known, sizes in published():
                    for count in sizes:
                        cases += replayed(name, known, count, seed)
            else:
                for world in worlds:
                    for k, count in itertools.product(domains, runs):
                        noise = NOISE[(seed + k + count) % len(NOISE)]
                        cases += planted(world, k, count, noise, seed, kept, laws)
            if save is not None:
                save.write_bytes(pickle.dumps(cases))
    if not replay and set(laws) != set(PLANTED):
        return
    groups = [case.group.split(" K=")[0] for case in cases]
    kinds = [] if replay else ["capped", "free"]
    for title in [*dict.fromkeys(groups), *kinds, "all"]:
        chosen = [
            case for case, group in zip(cases, groups, strict=True) if title in ("all", group, group.rpartition(" ")[2])
        ]
        print(told(chosen, title), flush=True)
