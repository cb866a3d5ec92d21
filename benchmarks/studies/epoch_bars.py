"""Measure how often the truth lies within the error bars of the law in epochs: python -m benchmarks.studies epoch_bars.

In the worlds of `epoch_worlds`, the law is fitted to matched proxies. Its joint uncertainty, without the noise of a new run, is compared
with the true errors of new mixtures, of its proposal, and of the difference between the natural mixture and the proposal. Prints a table:
the fractions within 1 and 2 standard deviations (68 and 95 % if they are right).
"""

from __future__ import annotations

import warnings

import numpy as np

import mixfast
from benchmarks.studies.epoch_worlds import KINDS, METRICS, World
from mixfast.laws.epochs import Epochs

_NEW = 200
WHERE = ("new mixtures", "proposal", "gain of the proposal")


def errors(world: World, runs: int, seed: int) -> dict[str, list[float]]:
    """Return the errors at each kind of place, in standard deviations, for all losses of a world."""
    swarm = world.swarm(runs, "matched", seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mixfast.fit(swarm, "epochs", folds=0)
        proposal = mixfast.propose(fit, world.region(1000.0), objective=dict.fromkeys(swarm.metrics, 1.0))
    law = fit.law_of(swarm.metrics[0])[0]
    assert isinstance(law, Epochs)
    assert swarm.rate is not None
    new = world.mixtures(_NEW, np.random.default_rng(9))
    places = np.vstack([new, proposal.mixture.weights, world.natural])
    missed = world.losses(places) - fit.predict(places)
    out: dict[str, list[float]] = {where: [] for where in WHERE}
    for j, joint in enumerate(law.joint(places * swarm.rate[0], range(METRICS))):
        sd = np.sqrt(joint.variance)
        out["new mixtures"] += (missed[:_NEW, j] / sd[:_NEW]).tolist()
        out["proposal"].append(float(missed[_NEW, j] / sd[_NEW]))
        both = joint.variance[_NEW] + joint.variance[_NEW + 1] - 2.0 * joint.column(_NEW)[_NEW + 1]
        out["gain of the proposal"].append(float((missed[_NEW + 1, j] - missed[_NEW, j]) / np.sqrt(both)))
    return out


def run(worlds: list[str] = list(KINDS), domains: int = 14, runs: int = 64, seeds: int = 8) -> None:  # noqa: B006
    """Print the fractions within 1 and 2 standard deviations for each kind of world and place."""
    print(f"{'world':<20}" + "".join(f"{where:>24}" for where in WHERE))
    for kind in worlds:
        found: dict[str, list[float]] = {where: [] for where in WHERE}
        for seed in range(seeds):
            for where, values in errors(World.of(kind, domains, seed), runs, seed).items():
                found[where] += values
        cells = [
            f"{np.mean(np.abs(found[where]) <= 1.0):.2f}, {np.mean(np.abs(found[where]) <= 2.0):.2f}" for where in WHERE
        ]
        print(f"{kind:<20}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
