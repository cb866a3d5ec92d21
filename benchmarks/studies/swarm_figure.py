"""Draw predictions and a proposal for the demo's swarm: python -m benchmarks.studies swarm_figure.

Left: predictions for held-out runs against the measured values. Right: the proposed shares with intervals from
refits on half of the runs, beside the prior.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mixfast
from benchmarks.facts import RESULTS, ROOT
from mixfast import proposers

DATA = ROOT / "mixfast" / "data"


def run(path: Path = RESULTS / "swarm.svg") -> None:
    """Write the figure, as .svg or .png."""
    import matplotlib as mpl

    mpl.use("agg" if path.suffix == ".png" else "svg")
    # The same picture gives the same bytes.
    mpl.rcParams["svg.hashsalt"] = "mixfast"
    import matplotlib.pyplot as plt

    swarm = mixfast.Swarm.from_csv(DATA / "demo_ratios.csv", DATA / "demo_metrics.csv")
    law = mixfast.fit(swarm, "gp", folds=0)
    guess = np.full(swarm.values.shape, np.nan)
    for train, test in swarm.folds(5):
        guess[test] = mixfast.fit(swarm.subset(train), "gp", folds=0).predict(swarm.ratios[test])
    lines = (DATA / "demo_tokens.yaml").read_text(encoding="utf-8").splitlines()
    tokens = {name: int(count) for name, count in (line.split(": ") for line in lines if line[0] != "#")}
    region = mixfast.Region.from_tokens(tokens, 512_000, max_epochs=4)
    objective = {"targets": "target_*"}
    found = proposers.bootstrap(swarm, "gp", region, fit=_fit, objective=objective, kl=0.05, draws=30)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    for j, name in enumerate(law.metrics):
        if name.startswith("target_"):
            left.plot(swarm.values[:, j], guess[:, j], ".", ms=5, label=name.removeprefix("target_"))
    ends = left.get_xlim()
    left.plot(ends, ends, "k-", lw=0.7)
    left.set(xlabel="measured, nats per byte", ylabel="predicted out of fold", title="Runs the law had not seen")
    left.legend(frameon=False, fontsize=8)
    place = np.arange(len(swarm.domains))
    weights = [found.proposal.mixture[name] for name in swarm.domains]
    right.barh(place, weights, height=0.55, color="#4c78a8", label="proposed, 90 % interval")
    right.hlines(place, *([end[name] for name in swarm.domains] for end in (found.low, found.high)), color="k", lw=1.2)
    right.plot(region.prior, place, "d", color="#e45756", label="prior")
    right.set_yticks(place, swarm.domains)
    right.invert_yaxis()
    right.set(xlabel="share", title="The proposal")
    right.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _fit(swarm: mixfast.Swarm, law: str) -> object:
    return mixfast.fit(swarm, law, folds=0)
