"""The proxies: an expert for each domain, a swarm of dense and of sparse mixtures, and one mixture with three seeds, to measure the noise."""

from __future__ import annotations

import mixfast
from benchmarks.lab.corpora import DOMAINS
from benchmarks.lab.laboratory import Laboratory
from benchmarks.lab.store import Job, Store
from mixfast import designs

KINDS = ("dense", "sparse")
REPLICATES = 5
"""Seeds of the matched proxies of the natural mixture; they tell the noise of each metric."""


def proxies(lab: Laboratory) -> list[Job]:
    """Return the runs that every method may use."""
    anything = lab.region(capped=False)
    natural = mixfast.Mixture(DOMAINS, anything.prior)
    experts = [Job(f"expert-{name}", "expert", "proxy", mixfast.Mixture([name], [1.0]), 0) for name in DOMAINS]
    dense = mixfast.design(anything, lab.scale.dense, seed=1, method=designs.Olmix(strength=(1, 20), minimum=1e-4))
    sparse = mixfast.design(anything, lab.scale.sparse, seed=2, method=designs.Olmix(strength=(0.1, 5), minimum=0.05))
    swarm = [
        Job(f"{kind}-{i:03d}", kind, "proxy", mixfast.Mixture(DOMAINS, ratios), 0)
        for kind, drawn in (("dense", dense), ("sparse", sparse))
        for i, ratios in enumerate(drawn.ratios)
    ]
    again = [Job(f"natural-{seed}", "replicate", "proxy", natural, seed) for seed in range(3)]
    return [*experts, *again, *swarm]


def matched(store: Store) -> list[Job]:
    """Return the swarm's mixtures again, and natural, as proxies that repeat each domain as often as a final model would.

    Dense and sparse alternate, so an interrupted training has as many of each.
    """
    runs = [sorted(store.runs(lambda row, kind=kind: row["kind"] == kind)) for kind in KINDS]
    natural = store.mixture(store.runs(lambda row: row["kind"] == "replicate")[0])
    again = [
        Job(f"matched-natural-{seed}", "matched-replicate", "matched", natural, seed) for seed in range(REPLICATES)
    ]
    swarm = [
        Job(f"matched-{run}", f"matched-{run.partition('-')[0]}", "matched", store.mixture(run), 0)
        for pair in zip(*runs, strict=True)
        for run in pair
    ]
    return [*again, *swarm]
