"""Measure how well planted laws in epochs are recovered: python -m benchmarks.studies recovered.

Each world plants a law in epochs with convex harm: gains a and harms h of each domain, shapes rho, p and tau of each of three losses, and a
floor. The mixtures and natural token counts are those of `epoch_worlds`, proxies are matched, and the noise is a tenth of the standard deviation of a
loss over the runs. ``law="epochs"`` is fitted, and compared with the planted law on 200 other mixtures without noise, and parameter by
parameter. `laws.fit_wear` is fitted to the same runs, in both forms. A domain stops paying at the epochs beyond 1 at which the value of one more
epoch has fallen to a tenth of that at one epoch, all losses together. Appends to benchmarks/results/recovered.csv, and leaves out what stands there.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.facts import RESULTS
from benchmarks.studies.epoch_worlds import BUDGET, METRICS, NOISE, World
from mixfast._engine.objectives.epoch_terms import gain, harm
from mixfast._engine.objectives.wear import Wear
from mixfast.laws.epochs import Epochs

Array = NDArray[np.float64]

PATH = RESULTS / "recovered.csv"
KEYS = ("domains", "runs", "seed")
COLUMNS = (
    *KEYS, "r2", "spearman", "gains", "harms", "at_one_epoch", "rho", "p", "onset", "floor", "repeated",
    "told_fade", "told_threshold", "stops_law", "stops_fade", "stops_threshold", "off_law", "off_fade", "off_threshold", "residual_fade", "residual_threshold",
)  # fmt: skip
_SPENT, _MOST = 0.1, 100.0
_GRID = np.exp(np.linspace(0.0, np.log(_MOST), 2000))


@dataclass(frozen=True)
class Planted:
    """A law in epochs of three losses."""

    a: Array  # (J, K)
    h: Array  # (J, K)
    rho: Array  # (J,)
    p: Array  # (J,)
    tau: Array  # (J,)
    floor: float = 2.0

    @classmethod
    def of(cls, domains: int, seed: int) -> Planted:
        rng = np.random.default_rng([seed, domains, 2])
        value = np.exp(0.7 * rng.standard_normal(domains) + 0.7 * rng.standard_normal((METRICS, domains)))
        # How much a domain's repetition harms is its own, so the losses agree on where it stops paying.
        spoiled = 0.5 * 10.0 ** rng.uniform(-1.5, 0.5, domains)
        a = 2.0 * value / value.sum(axis=1, keepdims=True)
        shapes = rng.uniform([0.4, 0.6, np.log(3.0)], [1.2, 1.0, np.log(8.0)], (METRICS, 3)).T
        return cls(a, a * spoiled, *shapes)

    def losses(self, epochs: Array) -> Array:
        """Return the losses (M, J) at epochs (M, K)."""
        return self.floor + np.exp(
            0.5
            + np.stack(
                [
                    harm(epochs, self.tau[j])[0] @ self.h[j] - gain(epochs, self.rho[j], self.p[j])[0] @ self.a[j]
                    for j in range(METRICS)
                ],
                axis=1,
            )
        )


def stops(worth: Callable[[Array], Array], domains: int) -> Array:
    """Return the epochs (K,) at which the slope of the domains' worth (E, K) falls to a tenth of that at one epoch."""
    slope = np.diff(worth(_GRID), axis=0) / np.diff(_GRID)[:, None]
    spent = slope <= _SPENT * slope[:1]
    return np.where(spent.any(axis=0), _GRID[spent.argmax(axis=0)], _MOST).reshape(domains)


def worth_of_law(law: Planted | Epochs) -> Callable[[Array], Array]:
    """Return what epochs (E,) of each domain are worth, all losses together."""

    def worth(epochs: Array) -> Array:
        out = np.zeros((len(epochs), law.a.shape[1]))
        for j in range(len(law.a)):
            out += np.outer(gain(epochs, law.rho[j], law.p[j])[0], law.a[j])
            if np.isfinite(law.tau[j]):
                out -= np.outer(harm(epochs, law.tau[j])[0], law.h[j])
        return out

    return worth


def worth_of_wear(found: mixfast.laws.FittedWear) -> Callable[[Array], Array]:
    """Return what epochs (E,) of each domain are worth if their tokens wear out as fitted."""
    one = np.ones(len(found.domains))
    wear = Wear(one, found.fitted) if found.form == "fade" else Wear(one, 0.01 * one, found.fitted)
    return lambda epochs: wear.worth(np.outer(epochs, one)).share ** found.power


def judge(domains: int, runs: int, seed: int) -> dict[str, Any]:
    """Return a row of the results."""
    world, truth = World.of("epochs", domains, seed), Planted.of(domains, seed)
    rng = np.random.default_rng([seed, runs, domains, 3])
    w, fresh = world.mixtures(runs, rng), world.mixtures(200, np.random.default_rng(9))
    values = truth.losses(w / world.natural)
    values = values + NOISE * values.std(axis=0) * rng.standard_normal(values.shape)
    swarm = mixfast.Swarm(
        w, values, domains=world.names, metric_names=[f"set{j}_loss" for j in range(METRICS)],
        tokens=dict(zip(world.names, BUDGET * world.natural, strict=True)), budget=BUDGET,
    )  # fmt: skip
    fitted = mixfast.fit(swarm, "epochs", folds=0)
    law, _ = fitted.law_of("set0_loss")
    assert isinstance(law, Epochs)
    guess, right = fitted.predict(fresh), truth.losses(fresh / world.natural)
    # Only domains that repeat show their harm.
    repeat = (w / world.natural >= 4.0).sum(axis=0) >= 5
    true_stop = stops(worth_of_law(truth), domains)
    row: dict[str, Any] = {
        "r2": np.mean(1.0 - ((guess - right) ** 2).mean(axis=0) / right.var(axis=0)),
        "spearman": mean(_spearman(guess[:, j], right[:, j]) for j in range(METRICS)),
        "gains": mean(_spearman(law.a[j], truth.a[j]) for j in range(METRICS)),
        "harms": mean(_spearman(law.h[j, repeat], truth.h[j, repeat]) for j in range(METRICS)),
        # The median factor by which the value of the first epoch is off, over domains that matter.
        "at_one_epoch": mean(_first_epoch(law, truth, j) for j in range(METRICS)),
        "rho": mean(abs(np.log(law.rho / truth.rho))),
        "p": mean(abs(law.p - truth.p)),
        "onset": mean(abs(np.log(np.expm1(law.tau) / np.expm1(truth.tau)))),
        "floor": mean((law.floor - truth.floor) / (np.median(values, axis=0) - truth.floor)),
        "repeated": int(repeat.sum()),
    }
    row |= _stopping("law", stops(worth_of_law(law), domains), true_stop, repeat)
    for form in ("fade", "threshold"):
        found = mixfast.laws.fit_wear(swarm, form=form)
        told = repeat & np.array(list(found.told.values()))
        row |= _stopping(form, stops(worth_of_wear(found), domains), true_stop, told)
        row |= {f"told_{form}": int(told.sum()), f"residual_{form}": found.residual}
    return {key: value if isinstance(value, int) else round(float(value), 4) for key, value in row.items()}


def _stopping(name: str, found: Array, truth: Array, told: NDArray[np.bool_]) -> dict[str, float]:
    """Return the rank correlation of the epochs at which the domains stop paying, and the median factor between fitted and planted ones."""
    few = told.sum() < 4
    return {
        f"stops_{name}": np.nan if few else _spearman(found[told], truth[told]),
        f"off_{name}": np.nan if few else float(np.exp(np.median(np.log(found[told] / truth[told])))),
    }


def _first_epoch(law: Epochs, truth: Planted, j: int) -> float:
    one = np.ones(1)
    worth = law.a[j] * gain(one, law.rho[j], law.p[j])[0]
    right = truth.a[j] * gain(one, truth.rho[j], truth.p[j])[0]
    matters = right >= np.median(right)
    return float(np.median(np.abs(worth - right)[matters] / right[matters]))


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _spearman(one: Array, other: Array) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def run(
    path: Path = PATH,
    domains: list[int] = [20, 60],  # noqa: B006  it is only read
    runs: list[int] = [40, 80, 160, 320],  # noqa: B006
    seeds: int = 10,
) -> None:
    """Append a line for each world and number of runs."""
    done = set()
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            done = {tuple(row[key] for key in KEYS) for row in csv.DictReader(file)}
    else:
        path.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for seed in range(seeds):
        for size in domains:
            for count in runs:
                key = (str(size), str(count), str(seed))
                if key in done:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    row = dict(zip(KEYS, key, strict=True)) | judge(size, count, seed)
                with path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, COLUMNS).writerow(row)
                print(row, flush=True)
