"""What methods may use: the experts' tables and the swarms of proxies, nothing from final models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

import mixfast
from benchmarks.lab.corpora import DOMAINS, TARGETS
from benchmarks.lab.laboratory import VALIDATION, Laboratory
from mixfast import laws

OBJECTIVES = {**{name: (name,) for name in TARGETS}, "mean": VALIDATION}
"""Metrics of each objective; all have the same weight."""
FIRST, BATCH, ROUNDS = 16, 8, 2
"""For the iterated search: runs of the first design, runs per round, and rounds."""
MATCHED_FIRST, MATCHED_BATCH = 32, 16
"""The same for the search with matched proxies, so that it has as many proxies for each objective as the whole swarm."""


class Evidence:
    """The data that methods may use: the experts' tables and the swarm, nothing from final models."""

    def __init__(self, lab: Laboratory) -> None:
        self.lab = lab

    @cached_property
    def _scored(self) -> dict[str, np.ndarray]:
        """Log-likelihoods of each set's tokens, (windows, T, K)."""
        experts = [self.lab.expert(name) for name in DOMAINS]
        return {name: np.stack([expert[name] for expert in experts], axis=2) for name in experts[0]}

    def table(self, metrics: Sequence[str], block: int) -> mixfast.ExpertTable:
        """Return the experts' table of some sets: rows of `block` tokens each, a group for each set."""
        window = self.lab.scale.proxy.shape.window
        sums, sequence, group = [], [], []
        for name in metrics:
            scored = self._scored[name].astype(np.float64)
            sums.append(scored.reshape(-1, block, len(DOMAINS)).sum(axis=1))
            rows = len(sums[-1])
            sequence.append(np.arange(rows) // (window // block) + sum(map(len, sums[:-1])))
            group.append(np.full(rows, len(group)))
        loglik = np.concatenate(sums)
        return mixfast.ExpertTable.from_loglik(
            loglik,
            domains=DOMAINS,
            length=None if block == 1 else np.full(len(loglik), block),
            group=np.concatenate(group),
            group_names=metrics,
            sequence=np.concatenate(sequence) if block < window else None,
        )

    def per_byte(self, objective: str) -> dict[str, float]:
        """Return the weight of each group, in nats per token, of an objective that is a mean in nats per byte."""
        found = {}
        for name in OBJECTIVES[objective]:
            text = self.lab.corpora[name.removeprefix("val_")]
            found[name] = self.lab.scale.proxy.shape.window / float(text.held_bytes[: len(self._scored[name])].mean())
        return found

    @cached_property
    def swarm(self) -> mixfast.Swarm:
        """Dense and sparse runs, alternately."""
        runs = [self.lab.store.runs(lambda row, kind=kind: row["kind"] == kind) for kind in ("dense", "sparse")]
        return self.lab.store.swarm([run for pair in zip(*runs, strict=True) for run in pair], DOMAINS)

    @cached_property
    def matched(self) -> mixfast.Swarm:
        """The same mixtures, dense and sparse alternately, as proxies that repeat each domain as often as a final model."""
        return self.lab.store.swarm([f"matched-{run}" for run in self.swarm.runs], DOMAINS)

    def counted(self, matched: bool, count: int | None = None, more: Sequence[str] = ()) -> mixfast.Swarm:
        """Return the proxies, or the first ones, and `more` runs, as a swarm that knows the tokens of its pools and the budget of a run."""
        recipe, runs = self.lab.scale.proxy, [*(self.matched if matched else self.swarm).runs[:count], *more]
        pools = self.lab.pools("matched" if matched else "proxy")
        window = recipe.shape.window
        tokens = {name: pools[name] * window for name in DOMAINS}
        return self.lab.store.swarm(runs, DOMAINS, chosen=more, tokens=tokens, budget=recipe.windows * window)

    @cached_property
    def wear(self) -> dict[str, float]:
        """Repeats after which a token of each domain is worth 1/e of a new one, fitted to the matched proxies and all objectives' metrics."""
        return laws.fit_wear(self.counted(True), metrics=(*VALIDATION, *TARGETS)).mapping

    def followed(self, objective: str, rounds: int) -> mixfast.Swarm:
        """Return the first runs of the swarm and those that `next_runs` chose in this number of rounds."""
        count = rounds * BATCH
        more = self.lab.store.runs(lambda row: row["kind"] == f"next-{objective}")[:count]
        return self.lab.store.swarm([*self.swarm.runs[:FIRST], *more], DOMAINS, chosen=more)

    def followed_matched(self, objective: str, rounds: int) -> mixfast.Swarm:
        """Return the first matched proxies and those that `next_runs` chose with the law in epochs in this number of rounds."""
        more = self.lab.store.runs(lambda row: row["kind"] == f"matched-next-{objective}")[: rounds * MATCHED_BATCH]
        return self.counted(True, MATCHED_FIRST, more)


Chooser = Callable[[Evidence, str, mixfast.Region], tuple[Any, int]]
