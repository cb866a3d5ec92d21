"""The proxies: an expert for each domain, a swarm of dense and of sparse mixtures, and one mixture with three seeds, to measure the noise."""

from __future__ import annotations

import mixfast
from benchmarks.lab.corpora import DOMAINS
from benchmarks.lab.laboratory import Laboratory
from benchmarks.lab.store import Job
from mixfast import designs


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
