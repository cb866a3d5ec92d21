"""Measure how good the proposal of each law is in worlds with a known truth: python -m benchmarks.studies epoch_worlds.

Each world has planted effects of the mixture on three losses, and natural token counts that differ widely between domains. A run of the
target's budget reads all tokens once on average. Proxy runs are matched (every domain is repeated as often as a share would be in the target
run) or unmatched (25 times as many tokens in their pools, so they hardly repeat). Their losses have noise of a tenth of their standard
deviation over the runs. Each law is fitted, and proposes for the target run, with no cap and with a cap of 4 epochs. The regret is the true
loss of the proposal above that of the best mixture, in percent of what the best mixture gains over the natural one. Appends to
benchmarks/results/epoch_worlds.csv, and leaves out what stands there.
"""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mixfast
from benchmarks.facts import RESULTS
from mixfast._engine.objectives.epoch_terms import gain, harm, late_harm
from mixfast._engine.objectives.wear import Wear
from mixfast.laws.epochs import Epochs

Array = NDArray[np.float64]

PATH = RESULTS / "epoch_worlds.csv"
KINDS = ("epochs", "epochs, late harm", "log-linear", "log-linear, wear", "power")
LAWS = ("epochs", "epochs, searched", "log_linear", "linear", "gp", "auto", "autoscale")
METRICS, BUDGET, POOLS, NOISE = 3, 10**9, 25.0, 0.1
# Fitting AutoScale to more takes minutes.
_MOST_AUTOSCALE = (20, 80)
COLUMNS = (
    "world",
    "domains",
    "runs",
    "proxies",
    "seed",
    "law",
    "cap",
    "regret",
    "beyond",
    "spearman",
    "chosen",
    "status",
    "seconds",
)


@dataclass(frozen=True)
class World:
    """A planted truth: the losses (M, J) of mixtures (M, K) whose run repeats tokens at `rate` epochs for each unit of share."""

    kind: str
    natural: Array  # (K,)
    value: Array  # (J, K)
    harmful: Array  # (J, K)
    repeats: Array  # (K,)

    @classmethod
    def of(cls, kind: str, domains: int, seed: int) -> World:
        rng = np.random.default_rng([seed, domains, KINDS.index(kind)])
        natural = np.exp(1.2 * rng.standard_normal(domains))
        natural /= natural.sum()
        # Some domains matter for all losses, and every loss has its own.
        value = np.exp(0.7 * rng.standard_normal(domains) + 0.7 * rng.standard_normal((METRICS, domains)))
        value /= value.sum(axis=1, keepdims=True)
        harmful = rng.exponential(size=(METRICS, domains)) / domains
        return cls(kind, natural, value, harmful, 10.0 ** rng.uniform(0.0, 1.5, domains))

    def losses(self, w: Array, repeated: float = 1.0) -> Array:
        """Return the losses of mixtures in a run that repeats tokens `repeated` times as often as the target run."""
        epochs = w / self.natural
        if self.kind.startswith("epochs"):
            gained = gain(epochs, 0.7, 0.7)[0] @ self.value.T
            of = harm if self.kind == "epochs" else late_harm
            lost = of(repeated * epochs, np.log(5.0))[0] @ self.harmful.T
            return 2.0 + np.exp(0.5 - 2.0 * gained + 0.3 * lost)
        slopes = 6.0 * (self.value / self.value.max(axis=1, keepdims=True)).T
        if self.kind == "log-linear":
            return 2.0 + np.exp(0.5 - w @ slopes)
        if self.kind == "log-linear, wear":
            share = Wear(self.natural / repeated, self.repeats).worth(w).share
            return 2.0 + np.exp(0.5 - share @ slopes)
        return 2.0 + (w + 0.02) ** -0.3 @ (2.0 * self.value * 0.02**0.3).T

    def objective(self, w: Array) -> float:
        """Return the mean of the losses of the target run."""
        return float(self.losses(w[None]).mean())

    def mixtures(self, runs: int, rng: np.random.Generator) -> Array:
        """Return mixtures to train: around the natural shares, flattened ones, and everything between."""
        out = np.empty((runs, self.natural.size))
        for row in out:
            centre = self.natural ** rng.uniform(0.2, 1.0)
            row[:] = rng.dirichlet(np.maximum(centre / centre.sum() * 10.0 ** rng.uniform(1.0, 2.3), 1e-2))
        return out

    def swarm(self, runs: int, proxies: str, seed: int) -> mixfast.Swarm:
        """Return trained proxy runs."""
        rng = np.random.default_rng([seed, runs, self.natural.size, KINDS.index(self.kind), 1])
        w = self.mixtures(runs, rng)
        pools = 1.0 if proxies == "matched" else POOLS
        values = self.losses(w, 1.0 / pools)
        values = values + NOISE * values.std(axis=0) * rng.standard_normal(values.shape)
        return mixfast.Swarm(
            w,
            values,
            domains=self.names,
            metric_names=[f"set{j}_loss" for j in range(METRICS)],
            tokens=dict(zip(self.names, pools * BUDGET * self.natural, strict=True)),
            budget=BUDGET,
        )

    @property
    def names(self) -> list[str]:
        return [f"d{k:02d}" for k in range(self.natural.size)]

    def region(self, cap: float) -> mixfast.Region:
        """Return the allowed mixtures of the target run."""
        counts = np.round(BUDGET * self.natural).astype(np.int64)
        return mixfast.Region.from_tokens(dict(zip(self.names, counts.tolist(), strict=True)), BUDGET, max_epochs=cap)

    def best(self, cap: float, starts: list[Array]) -> Array:
        """Return the best mixture that descents from these starts find."""
        high = np.minimum(cap * self.natural, 1.0)
        found = [self._descend(np.minimum(start, high), high) for start in starts]
        return min(found, key=self.objective)

    def _descend(self, w: Array, high: Array) -> Array:
        from scipy.optimize import minimize

        def slopes(x: Array) -> Array:
            step = np.maximum(1e-7, 1e-5 * x)
            moved = x + np.diag(step)
            return (self.losses(moved).mean(axis=1) - self.objective(x)) / step

        total = {"type": "eq", "fun": lambda x: x.sum() - 1.0, "jac": np.ones_like}
        done = minimize(
            self.objective, w, jac=slopes, method="SLSQP", bounds=list(zip(0.0 * high, high, strict=True)),
            constraints=[total], options={"maxiter": 300, "ftol": 1e-10},
        )  # fmt: skip
        x = np.clip(done.x, 0.0, high)
        # What the sum lacks goes where there is room.
        room = high - x if x.sum() < 1.0 else x
        return x + (1.0 - x.sum()) * room / room.sum()


def judge(world: World, swarm: mixfast.Swarm, name: str, best: dict[float, float]) -> Iterator[dict[str, Any]]:
    """Fit one law and yield what its proposals are worth."""
    law = Epochs(convex=False) if name == "epochs, searched" else name
    fresh = world.mixtures(200, np.random.default_rng(9))
    natural = world.objective(world.natural)
    began = time.perf_counter()
    fitted = mixfast.fit(swarm, law, folds=5 if name == "auto" else 0)
    target = fitted.for_run(swarm.tokens[0] / _pools(swarm, world), BUDGET) if _in_epochs(fitted) else fitted
    guess, truth = target.predict(fresh).mean(axis=1), world.losses(fresh).mean(axis=1)
    for cap in (np.inf, 4.0):
        region = world.region(min(cap, 1000.0))
        proposal = mixfast.propose(fitted, region, objective=dict.fromkeys(swarm.metrics, 1.0))
        w = proposal.mixture.weights
        yield {
            "law": name,
            "cap": cap,
            "regret": round(100.0 * (world.objective(w) - best[cap]) / (natural - best[cap]), 2),
            "beyond": round(float((w / world.natural).max()), 2),
            "spearman": round(_spearman(guess, truth), 4),
            "chosen": " ".join(sorted(set(fitted.laws.values()))),
            "status": proposal.status,
            "seconds": round(time.perf_counter() - began, 2),
        }


def _in_epochs(fitted: mixfast.laws.Fit) -> bool:
    return "epochs" in fitted.laws.values()


def _pools(swarm: mixfast.Swarm, world: World) -> float:
    return float(swarm.tokens[0] @ world.natural / (BUDGET * world.natural @ world.natural))


def _spearman(one: Array, other: Array) -> float:
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def run(
    path: Path = PATH,
    worlds: list[str] = list(KINDS),  # noqa: B006  it is only read
    laws: list[str] = list(LAWS),  # noqa: B006
    domains: list[int] = [20, 60],  # noqa: B006
    runs: list[int] = [40, 80, 160, 320],  # noqa: B006
    unmatched: list[int] = [160],  # noqa: B006
    seeds: int = 4,
) -> None:
    """Append a line for each world, swarm, law and cap; `unmatched` are the numbers of runs of which unmatched proxies are tried too."""
    done = set()
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            done = {tuple(row[key] for key in COLUMNS[:6]) for row in csv.DictReader(file)}
    else:
        path.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for seed in range(seeds):
        for size in domains:
            for kind in worlds:
                world = World.of(kind, size, seed)
                starts = [world.natural, np.full(size, 1.0 / size), *world.mixtures(4, np.random.default_rng(seed))]
                best: dict[float, float] = {}
                for count, proxies in [*((r, "matched") for r in runs), *((r, "unmatched") for r in unmatched)]:
                    key = (kind, str(size), str(count), proxies, str(seed))
                    left = [law for law in laws if (*key, law) not in done]
                    if size > _MOST_AUTOSCALE[0] or count > _MOST_AUTOSCALE[1]:
                        left = [law for law in left if law != "autoscale"]
                    if not left:
                        continue
                    best = best or {cap: world.objective(world.best(cap, starts)) for cap in (np.inf, 4.0)}
                    swarm = world.swarm(count, proxies, seed)
                    for law in left:
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")
                            found = list(judge(world, swarm, law, best))
                        with path.open("a", newline="", encoding="utf-8") as file:
                            lines = [dict(zip(COLUMNS, key, strict=False)) | row for row in found]
                            csv.DictWriter(file, COLUMNS).writerows(lines)
                        print(*key, law, *(row["regret"] for row in found), flush=True)
