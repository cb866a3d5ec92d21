"""Loops: minimise an objective over limits, to a Frank-Wolfe gap.

Files, in reading order
    `trace.py`: what every loop returns.
    `working_set.py`: `minimise`, the entry point: from a sample of the rows to all of them, over a growing set of domains.
    `newton.py`: the steps on that set. `expectation.py`: earlier steps, which find the order of magnitude.
    `in_cache.py`: both as compiled calls, for tables that fit into the cache.
    `by_influence.py`: large tables, on a sample of the rows that matter, corrected to match all rows.
    `guided.py`: very many rows, in few sweeps: between these, the search runs on a sample that is corrected to match all rows.
    `wide.py`: many domains and few rows, by `interior.py` (the interior point method), `woodbury.py` (its linear systems) and `halves.py` (for repeated tokens that wear out).
    `minimax.py`: the largest of several functions, and limits on some of them.
    `dual.py`: the exact proposal under a KL term, with as many unknowns as metrics.
    `flat.py`: how far shares can move near an optimum. `replicates.py`: intervals of the shares of many replicates.
    `search.py`, with `candidates.py` and `descent.py`: laws that are not convex, without a proof. `regmix.py`: the simulation of RegMix.
    `simulation.py`: the simulation of Olmix, in rounds.

Numbered steps in the docstring of a file refer to the numbered comments in its code.
"""
