"""Which mixtures to train next: swarms that cover a region, RegMix's and Olmix's samplers, and runs added to a swarm."""

from mixfast.designs._design import Design, NextRuns, Olmix, RegMix, advised_runs, design, extend, next_runs

__all__ = ["Design", "NextRuns", "Olmix", "RegMix", "advised_runs", "design", "extend", "next_runs"]
